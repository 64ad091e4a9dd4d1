//! What a host's `policy.json` asks of a source (containers-policy.json(5)); pure.
//!
//! What a scope asks for and is not there yet is named, so that its images can be refused by name; nothing
//! is ever passed over. Load errors are in the words of containers/image.

mod identity;
mod name;
mod requirement;
mod strict;

pub use identity::{IdentityError, SignedIdentity};
pub use name::NameError;
pub use requirement::{KeySource, Requirement, SigstoreSigned};

use std::collections::{BTreeMap, BTreeSet};

use strict::{Fields, Value};

use crate::oci::Reference;
use crate::text::cleaned;

/// The largest policy that is read, in bytes.
pub const POLICY_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a transport or scope an [`Error`] shows, in characters.
const SCOPE_CHARS_MAX: usize = 200;

/// A policy: requirements by scope of the docker transport. Others are read for errors and forgotten.
#[derive(Debug, Clone)]
pub struct Policy {
    default: Vec<Requirement>,
    docker: BTreeMap<String, Vec<Requirement>>,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or has a key twice, on whose value readers disagree.
    #[error("it is no policy")]
    Json(#[from] serde_json::Error),
    /// It does not have a policy's shape.
    #[error("{place}: {reason}")]
    Form {
        /// Where: the policy, its default, a transport or a scope.
        place: String,
        /// What is wrong, in the words of containers/image.
        reason: String,
    },
}

/// What a policy asks of an image beyond what is implemented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy asks for {requirement} in scope `{scope}`, which is not there yet")]
pub struct Unmet {
    /// The scope, or `default`.
    pub scope: String,
    /// The requirement, as [`Requirement::name`] names it.
    pub requirement: String,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// When it is no policy, or a requirement in it is not whole, whatever the scope.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(bytes)?;
        let at_root = at("the policy".to_owned());
        let mut fields = value.fields().map_err(&at_root)?;
        fields.only(&["default", "transports"]).map_err(&at_root)?;
        let default = fields
            .take("default")
            .ok_or_else(|| at_root("Default policy is missing".to_owned()))?;
        let default = requirements(default).map_err(at("`default`".to_owned()))?;
        let mut docker = BTreeMap::new();
        let transports = fields.take("transports").map(Value::fields).transpose();
        let transports = transports.map_err(at("`transports`".to_owned()))?;
        for (transport, scopes) in transports.into_iter().flat_map(Fields::into_entries) {
            let shown = cleaned(&transport, SCOPE_CHARS_MAX);
            let scopes = scopes
                .fields()
                .map_err(at(format!("transport `{shown}`")))?;
            for (scope, list) in scopes.into_entries() {
                let place = cleaned(&scope, SCOPE_CHARS_MAX);
                let place = at(format!("scope `{place}` of transport `{shown}`"));
                let list = requirements(list).map_err(place)?;
                if transport == "docker" {
                    // Hosts are one whatever their case; where two scopes become one, both ask.
                    let all: &mut Vec<Requirement> = docker.entry(lower_host(&scope)).or_default();
                    all.extend(list);
                }
            }
        }
        Ok(Self { default, docker })
    }

    /// The files in which keys are looked for, whatever the scope of the docker transport, as the policy
    /// writes their paths, each once.
    pub fn key_paths(&self) -> BTreeSet<&str> {
        self.docker
            .values()
            .chain([&self.default])
            .flatten()
            .filter_map(|requirement| match requirement {
                Requirement::SigstoreSigned(signed) => match &signed.keys {
                    KeySource::Paths(paths) => Some(paths),
                    KeySource::Data(_) => None,
                },
                Requirement::InsecureAcceptAnything
                | Requirement::Reject
                | Requirement::Unsupported(_) => None,
            })
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// What is asked of `image`, all of it, and by which scopes. A name with a tag and a digest has two
    /// readings, and what either asks for holds: the digest says what is read, and need not be what the
    /// tag names.
    pub fn readings(&self, image: &Reference) -> Vec<(String, &[Requirement])> {
        let by_digest = Reference {
            tag: None,
            ..image.clone()
        };
        let mut readings = vec![self.requirements(image)];
        if image.tag.is_some() && image.digest.is_some() {
            let reading = self.requirements(&by_digest);
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        readings
    }

    /// What is asked of `image` in its most specific reading, and by which scope: the most specific that fits decides alone.
    /// Never nothing.
    ///
    /// Scopes of the docker transport from the most to the least specific: the whole reference, the
    /// repository, each part of its path, the host, `*.` with the rest of the host, the transport's
    /// own default, the policy's.
    pub fn requirements(&self, image: &Reference) -> (String, &[Requirement]) {
        let repository = image.repository.to_string();
        let mut candidates = Vec::new();
        // A name with both is refused by others; here each of its readings counts.
        if let Some(digest) = &image.digest {
            candidates.push(format!("{repository}@{digest}"));
        }
        if let Some(tag) = &image.tag {
            candidates.push(format!("{repository}:{tag}"));
        }
        if image.digest.is_none() && image.tag.is_none() {
            candidates.push(format!("{repository}:latest"));
        }
        let mut rest = repository.as_str();
        candidates.push(rest.to_owned());
        while let Some((parent, _)) = rest.rsplit_once('/') {
            candidates.push(parent.to_owned());
            rest = parent;
        }
        // A wildcard stands for all subdomains, whatever their ports.
        let mut host = rest.split_once(':').map_or(rest, |(host, _)| host);
        while let Some((_, parent)) = host.split_once('.') {
            candidates.push(format!("*.{parent}"));
            host = parent;
        }
        candidates.push(String::new());
        for candidate in candidates {
            if let Some(list) = self.docker.get(&candidate) {
                let scope = if candidate.is_empty() {
                    "docker".to_owned()
                } else {
                    candidate
                };
                return (scope, list);
            }
        }
        ("default".to_owned(), &self.default)
    }
}

/// A scope with its host in lower case, as names have it here.
fn lower_host(scope: &str) -> String {
    match scope.split_once('/') {
        None => scope.to_ascii_lowercase(),
        Some((host, rest)) => format!("{}/{rest}", host.to_ascii_lowercase()),
    }
}

/// Says where something is wrong.
fn at(place: String) -> impl Fn(String) -> Error {
    move |reason| Error::Form {
        place: place.clone(),
        reason,
    }
}

/// The requirements of one scope.
fn requirements(value: Value) -> Result<Vec<Requirement>, String> {
    let list = value.list("requirements")?;
    if list.is_empty() {
        return Err("List of verification policy requirements must not be empty".to_owned());
    }
    list.into_iter().map(Requirement::read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The scope and the first requirement that asks for something.
    fn asked(policy: &str, image: &str) -> Option<(String, String)> {
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let (scope, list) = policy.requirements(&image.parse().unwrap());
        assert!(!list.is_empty());
        let found = list
            .iter()
            .find(|one| !matches!(one, Requirement::InsecureAcceptAnything))?;
        Some((scope, found.name().replace('`', "")))
    }

    const ANY: &str = r#"{"type":"insecureAcceptAnything"}"#;

    #[test]
    fn the_most_specific_scope_decides() {
        let policy = format!(
            r#"{{"default":[{ANY}],"transports":{{
                "docker-daemon":{{"":[{{"type":"reject"}}]}},
                "docker":{{
                    "a.example.com":[{{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}}],
                    "a.example.com/free":[{ANY}],
                    "a.example.com/free/not:1":[{{"type":"reject"}}],
                    "*.wild.example":[{{"type":"sigstoreSigned","keyPath":"/k"}}]
                }}}}}}"#
        );
        let kind = |image: &str| asked(&policy, image);
        let of = |scope: &str, kind: &str| Some((scope.to_owned(), kind.to_owned()));
        assert_eq!(kind("nginx"), None);
        assert_eq!(kind("a.example.com/x:1"), of("a.example.com", "signedBy"));
        assert_eq!(kind("a.example.com/free/x:1"), None);
        assert_eq!(
            kind("a.example.com/free/not:1"),
            of("a.example.com/free/not:1", "reject")
        );
        assert_eq!(kind("a.example.com/free/not:2"), None);
        assert_eq!(
            kind("b.wild.example/x"),
            of("*.wild.example", "sigstoreSigned")
        );
        assert_eq!(
            kind("a.b.wild.example/x"),
            of("*.wild.example", "sigstoreSigned")
        );
        assert_eq!(
            kind("b.wild.example:5000/x"),
            of("*.wild.example", "sigstoreSigned")
        );
        let both = format!(
            "a.example.com/free/not:1@{}",
            crate::oci::Digest::sha256(b"x")
        );
        assert_eq!(kind(&both), of("a.example.com/free/not:1", "reject"));
        assert_eq!(kind("wild.example/x"), None);
        assert_eq!(kind("a.example.com:5000/x"), None);
    }

    #[test]
    fn a_tag_does_not_excuse_a_digest() {
        let policy = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"a.io/x:free":[{ANY}]}}}}}}"#
        );
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let scopes = |image: &str| {
            let image = image.parse().unwrap();
            let readings = policy.readings(&image).into_iter();
            readings.map(|(scope, _)| scope).collect::<Vec<_>>()
        };
        let digest = crate::oci::Digest::sha256(b"x");
        assert_eq!(scopes("a.io/x:free"), ["a.io/x:free"]);
        assert_eq!(scopes(&format!("a.io/x@{digest}")), ["default"]);
        assert_eq!(
            scopes(&format!("a.io/x:free@{digest}")),
            ["a.io/x:free", "default"]
        );
        assert_eq!(scopes(&format!("a.io/x:v@{digest}")), ["default"]);
    }

    #[test]
    fn a_scope_holds_whatever_the_case_of_its_host() {
        let policy = format!(
            r#"{{"default":[{ANY}],"transports":{{"docker":{{
                "Reg.Example":[{{"type":"reject"}}],
                "*.Wild.example":[{{"type":"reject"}}],
                "A.io/x:V":[{{"type":"reject"}}],
                "b.io":[{ANY}],"B.io":[{{"type":"reject"}}]}}}}}}"#
        );
        for image in [
            "reg.example/x",
            "Reg.Example/x",
            "a.wild.example/x",
            "a.io/x:V",
            "b.io/x",
        ] {
            let found = asked(&policy, image).map(|(_, kind)| kind);
            assert_eq!(found.as_deref(), Some("reject"), "{image}");
        }
        assert_eq!(asked(&policy, "a.io/x:v"), None);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"default":[]}"#,
            r#"{"default":[{}]}"#,
            r#"{"default":[{"type":"reject"}],"transport":{}}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[]}}}"#,
            r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[{"type":"reject"}],"x":[{"type":"insecureAcceptAnything"}]}}}"#,
            r#"{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}"#,
        ] {
            assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let policy = Policy::parse(br#"{"default":[{"type":"reject"}]}"#).unwrap();
        let (scope, list) = policy.requirements(&"nginx".parse().unwrap());
        assert_eq!(
            (scope.as_str(), list),
            ("default", &[Requirement::Reject][..])
        );
    }

    #[test]
    fn load_errors_are_in_the_words_of_others_and_say_where() {
        let any = r#"{"default":[{"type":"insecureAcceptAnything"}]"#;
        for (policy, says) in [
            ("[]".to_owned(), "the policy: JSON object expected"),
            ("{}".to_owned(), "the policy: Default policy is missing"),
            (format!(r#"{any},"x":1}}"#), "the policy: Unknown key \"x\""),
            (
                r#"{"default":null}"#.to_owned(),
                "`default`: List of verification policy requirements must not be empty",
            ),
            (
                r#"{"default":{"type":"reject"}}"#.to_owned(),
                "`default`: \"requirements\" is no list",
            ),
            (
                r#"{"default":[{"Type":"reject"}]}"#.to_owned(),
                "`default`: Unknown policy requirement type \"\"",
            ),
            (
                format!(r#"{any},"transports":null}}"#),
                "`transports`: JSON object expected",
            ),
            (
                format!(r#"{any},"transports":{{"docker":null}}}}"#),
                "transport `docker`: JSON object expected",
            ),
            (
                format!(r#"{any},"transports":{{"other":{{"x":[]}}}}}}"#),
                "scope `x` of transport `other`: List of verification policy requirements must not be empty",
            ),
            (
                format!(
                    r#"{any},"transports":{{"docker":{{"x\u001b":[{{"type":"reject","y":1}}]}}}}}}"#
                ),
                "scope `x\u{fffd}` of transport `docker`: Unknown key \"y\"",
            ),
        ] {
            let error = Policy::parse(policy.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), says, "{policy}");
        }
        for (policy, key) in [
            (format!(r#"{any},"default":1}}"#), "default"),
            (
                format!(r#"{any},"transports":{{"a":{{}},"a":{{}}}}}}"#),
                "a",
            ),
            (
                r#"{"default":[{"type":"x","deep":[{"k":1,"k":2}]}]}"#.to_owned(),
                "k",
            ),
        ] {
            let Error::Json(error) = Policy::parse(policy.as_bytes()).unwrap_err() else {
                panic!("{policy}");
            };
            let says = format!("Duplicate key \"{key}\" at line 1");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
        assert!(Policy::parse(format!("{any}}} x").as_bytes()).is_err());
        assert!(Policy::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn all_of_a_list_is_asked_for() {
        let policy = format!(
            r#"{{"default":[{ANY},{{"type":"sigstoreSigned","keyPath":"/k"}},{{"type":"odd","x":[1]}}]}}"#
        );
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let (scope, list) = policy.requirements(&"nginx".parse().unwrap());
        let names: Vec<String> = list.iter().map(Requirement::name).collect();
        assert_eq!(scope, "default");
        assert_eq!(
            names,
            ["`insecureAcceptAnything`", "`sigstoreSigned`", "`odd`"]
        );
        let unmet = Unmet {
            scope,
            requirement: names[2].clone(),
        };
        assert_eq!(
            unmet.to_string(),
            "the policy asks for `odd` in scope `default`, which is not there yet"
        );
    }

    #[test]
    fn key_files_of_every_scope_are_known_once() {
        let signed = |fields: &str| format!(r#"[{{"type":"sigstoreSigned",{fields}}}]"#);
        let policy = format!(
            r#"{{"default":{},"transports":{{
                "docker":{{"a.io":{},"b.io":{},"c.io":[{ANY}]}},
                "dir":{{"":{}}}}}}}"#,
            signed(r#""keyPath":"/a""#),
            signed(r#""keyPaths":["/b","/a"]"#),
            signed(r#""keyData":"YQ==""#),
            signed(r#""keyPath":"/elsewhere""#),
        );
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        assert_eq!(
            policy.key_paths().into_iter().collect::<Vec<_>>(),
            ["/a", "/b"]
        );
    }

    /// JSON that looks like a policy more often than not.
    fn json() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            prop::sample::select(vec![
                "default",
                "transports",
                "docker",
                "",
                "type",
                "sigstoreSigned",
                "keyPath",
                "keyPaths",
                "keyData",
                "keyDatas",
                "fulcio",
                "pki",
                "rekorPublicKeyPath",
                "signedIdentity",
                "reject",
                "remapIdentity",
                "prefix",
                "signedPrefix",
                "exactReference",
                "dockerReference",
                "a.io/b:c",
                "YQ==",
                "caPath",
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,6}",
        ]
        .prop_map(|text| serde_json::to_string(&text).unwrap());
        let leaf = prop_oneof![
            4 => word.clone(),
            1 => Just("null".to_owned()),
            1 => Just("1e9".to_owned()),
            1 => Just("true".to_owned()),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| format!("[{}]", values.join(","))),
                prop::collection::vec((word.clone(), inner), 0..5).prop_map(|entries| {
                    let entries: Vec<String> = entries
                        .iter()
                        .map(|(key, value)| format!("{key}:{value}"))
                        .collect();
                    format!("{{{}}}", entries.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_policy_or_refused(bytes in any::<Vec<u8>>()) {
            if let Ok(policy) = Policy::parse(&bytes) {
                prop_assert!(!policy.default.is_empty());
            }
        }

        #[test]
        fn any_json_is_a_policy_or_refused(a in json(), b in json()) {
            let image: Reference = "a.io/b:c".parse().unwrap();
            for text in [
                a.clone(),
                format!(r#"{{"default":{a}}}"#),
                format!(r#"{{"default":[{a},{b}]}}"#),
                format!(r#"{{"default":[{ANY}],"transports":{{"docker":{{"a.io":[{b}]}}}}}}"#),
                format!(r#"{{"default":[{{"type":"sigstoreSigned","keyPath":"x","signedIdentity":{a}}}]}}"#),
            ] {
                if let Ok(policy) = Policy::parse(text.as_bytes()) {
                    prop_assert!(!policy.requirements(&image).1.is_empty());
                }
            }
        }
    }
}
