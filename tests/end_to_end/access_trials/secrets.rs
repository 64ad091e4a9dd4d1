//! The secrets of a trial, and where they may not stand.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use url::form_urlencoded;

use crate::registry::TestRegistry;

/// Users with their passwords or tokens.
#[derive(Debug)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// These.
    pub(super) fn of(known: &[(&str, &str)]) -> Self {
        let owned = |(user, secret): &(&str, &str)| ((*user).to_owned(), (*secret).to_owned());
        Self(known.iter().map(owned).collect())
    }

    /// All the ways in which they can be written: as they are, escaped in a URL or a form, in JSON, in
    /// Base64 alone and behind their user.
    fn forms(&self) -> Vec<String> {
        let mut forms = Vec::new();
        for (user, secret) in &self.0 {
            let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let in_json = serde_json::Value::from(secret.as_str()).to_string();
            forms.push(secret.clone());
            forms.push(escaped.replace('+', "%20"));
            forms.push(escaped);
            forms.push(in_json.trim_matches('"').to_owned());
            for text in [&format!("{user}:{secret}"), secret] {
                for mut encoded in [STANDARD.encode(text), URL_SAFE.encode(text)] {
                    // The last group depends on what follows.
                    encoded.truncate(encoded.len() - 4);
                    forms.push(encoded);
                }
            }
        }
        forms
    }

    /// None of them stands in `text`, which is `what`.
    #[track_caller]
    pub(super) fn absent_from(&self, text: &str, what: &str) {
        for form in self.forms() {
            assert!(!text.contains(&form), "`{form}` is in {what}:\n{text}");
        }
    }

    /// None of them was ever sent to `registry`.
    #[track_caller]
    pub(super) fn never_reached(&self, registry: &TestRegistry, what: &str) {
        self.absent_from(&sent_to(registry), what);
    }

    /// Each of them was sent to `registry`.
    #[track_caller]
    pub(super) fn reached(&self, registry: &TestRegistry, what: &str) {
        let text = sent_to(registry);
        for (user, secret) in &self.0 {
            let one = Self(vec![(user.clone(), secret.clone())]);
            let is_there = one.forms().iter().any(|form| text.contains(form));
            assert!(is_there, "`{secret}` did not reach {what}:\n{text}");
        }
    }
}

/// Everything that a registry was sent: paths, queries, headers, the beginnings of bodies.
fn sent_to(registry: &TestRegistry) -> String {
    let mut parts = Vec::new();
    for line in registry.log() {
        parts.push(format!("{} {}?{}", line.method, line.path, line.query));
        for (name, value) in &line.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            parts.push(format!("  {name}: {value}"));
        }
        parts.push(String::from_utf8_lossy(&line.body).into_owned());
    }
    parts.join("\n")
}
