//! What has to hold whatever a registry or a token service answers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a finding"
)]

use std::time::Duration;

use bytes::Bytes;
use http::header::{RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use tokio::time::Instant;
use url::{Host, Url};

use super::auth::{Challenge, ChallengeError, Token};
use super::error::Words;
use super::{blob, link, listing, resume, rights};
use crate::oci::Descriptor;

/// The longest time for which a token is believed, with what a slow machine adds.
const LIFE_MAX: Duration = Duration::from_hours(25);

/// A token is for a header, is not shown, and does not live for ever.
pub(crate) fn token(body: &[u8]) {
    let asked = Instant::now();
    let Some(token) = Token::read(body, asked) else {
        return;
    };
    let secret = token.header().strip_prefix("Bearer ");
    let secret = secret.expect("it is a bearer's");
    assert!(!secret.is_empty());
    assert_eq!(format!("{token:?}"), "Token(***)");
    assert!(token.renew_at() <= asked + LIFE_MAX && token.renew_at() > asked);
    let path = "team/app";
    if rights::granted(secret, path) == Some(true) {
        let says = secret.split('.').nth(1).unwrap_or_default();
        assert!(!says.is_empty(), "only claims can allow");
    }
}

/// Where credentials are sent is at the registry, or at a place that is neither this machine nor its cloud,
/// and never in plain text from a registry on TLS.
pub(crate) fn challenge(header: &[u8]) {
    let Ok(header) = HeaderValue::from_bytes(header) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.append(WWW_AUTHENTICATE, header);
    for registry in ["https://r.example/v2/", "http://127.0.0.1:5000/v2/"] {
        let registry: Url = registry.parse().expect("a URL");
        match Challenge::read(&headers, &registry) {
            Ok(Challenge::Basic) | Err(ChallengeError::Unknown) => {}
            Ok(Challenge::Bearer { realm, service: _ }) => check_realm(&realm, &registry),
            Err(ChallengeError::Realm(shown)) => {
                assert!(!shown.contains(char::is_control), "{shown:?}");
            }
        }
    }
}

fn check_realm(realm: &Url, registry: &Url) {
    assert!(realm.username().is_empty() && realm.password().is_none());
    match realm.scheme() {
        "https" => {}
        "http" => assert_eq!(registry.scheme(), "http"),
        other => panic!("credentials by `{other}`"),
    }
    if realm.host() == registry.host() {
        return;
    }
    match realm.host().expect("there is a host") {
        Host::Domain(name) => {
            let last = name.trim_end_matches('.').rsplit('.').next();
            assert_ne!(last, Some("localhost"));
        }
        Host::Ipv4(to) => assert!(!(to.is_loopback() || to.is_link_local() || to.is_unspecified())),
        Host::Ipv6(to) => {
            let mapped = to.to_ipv4_mapped();
            assert!(mapped.is_none_or(|to| !(to.is_loopback() || to.is_link_local())));
            assert!(!(to.is_loopback() || to.is_unicast_link_local() || to.is_unspecified()));
        }
    }
}

/// The next page is between `<` and `>` of the header, and at the registry's own origin.
pub(crate) fn link(header: &[u8]) {
    let header = HeaderValue::from_bytes(header).ok();
    let Some(header) = header.as_ref().and_then(|header| header.to_str().ok()) else {
        return;
    };
    let Some(target) = link::next_target(header) else {
        return;
    };
    let at = target.as_ptr().addr() - header.as_ptr().addr();
    let (before, rest) = header.split_at(at);
    assert!(before.trim_end().ends_with('<'), "{target}");
    let behind = rest.strip_prefix(target).expect("it stands there");
    assert!(behind.trim_start().starts_with('>'), "{target}");
    assert!(!target.contains('>'));
    assert!(header.to_ascii_lowercase().contains("next"));
    let base: Url = "https://r.example/v2/".parse().expect("a URL");
    let asked = base.join("a/tags/list").expect("a URL");
    if let Ok(next) = listing::next_url(target, &asked, &base) {
        assert_eq!(next.origin(), base.origin());
        assert!(next.fragment().is_none());
    }
}

/// The entries of a page stand in it, byte for byte.
pub(crate) fn referrers(body: &[u8]) {
    let mut entries = Vec::new();
    if listing::read_entries(&Bytes::copy_from_slice(body), &mut entries).is_err() {
        return;
    }
    // Fields that nobody reads may be no text.
    let text = String::from_utf8_lossy(body);
    let mut rest = &*text;
    for entry in &entries {
        let bytes = entry.raw.get();
        let (_, behind) = rest.split_once(bytes).expect("it stands there");
        rest = behind;
        let again: Descriptor = serde_json::from_str(bytes).expect("it was read before");
        assert_eq!(again, entry.descriptor);
    }
}

/// A part goes on at one place at most, and a session has what it says and nothing else.
pub(crate) fn ranges(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    if let Ok(text) = value.to_str() {
        let places = [0, 1, 3, 10, 99, 1 << 32, u64::MAX];
        let goes_on = places.map(|offset| blob::goes_on(text, offset, 100));
        assert!(goes_on.into_iter().filter(|goes_on| *goes_on).count() <= 1);
        assert!(!goes_on.contains(&true) || text.contains("bytes "));
    }
    let mut headers = HeaderMap::new();
    headers.append(RANGE, value.clone());
    if let Some(bytes) = resume::held(&headers) {
        let text = value.to_str().expect("it was read");
        assert!(
            bytes >= 2 && text.contains(&(bytes - 1).to_string()),
            "{text}"
        );
    }
}

/// What is repeated of an error is short, on one line, and none of the secrets.
pub(crate) fn error_body(body: &[u8]) {
    const SECRET: &str = "hunter2-hunter2";
    let secrets = [SecretString::from(SECRET)];
    let words = Words::read(StatusCode::BAD_REQUEST, body, &secrets);
    let said = words.to_string();
    assert!(!said.contains(SECRET), "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");
    assert!(said.chars().count() < 2000);
}
