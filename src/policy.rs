//! What a host's `policy.json` asks of a source (containers-policy.json(5)); pure.
//!
//! Only `insecureAcceptAnything` is implemented yet. Whatever else a scope asks for is named, so that
//! its images can be refused by name; nothing is ever passed over.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, de};

use crate::oci::Reference;

/// The largest policy that is read, in bytes.
pub const POLICY_BYTES_MAX: u64 = 1024 * 1024;

/// A policy: requirements by transport and scope.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: Unique<Unique<Vec<Requirement>>>,
}

/// A map that refuses a key that stands there twice: readers disagree on which one counts.
#[derive(Debug, Clone)]
struct Unique<V>(BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if entries.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key stands there twice"));
                    }
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// One requirement, by its type; the rest of it belongs to those that are implemented.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    /// Its type: `insecureAcceptAnything`, `reject`, `signedBy`, `sigstoreSigned`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON of the policy's shape.
    #[error("it is no policy")]
    Json(#[from] serde_json::Error),
    /// A scope, or the default, has no requirements: nothing could be accepted, or everything.
    #[error("the requirements of `{0}` are empty")]
    Empty(String),
}

/// What a policy asks of an image beyond what is implemented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy asks for `{requirement}` in scope `{scope}`, which is not there yet")]
pub struct Unmet {
    /// The scope, or `default`.
    pub scope: String,
    /// The type of the requirement.
    pub requirement: String,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// When it is no policy, or has a scope without requirements.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let policy: Self = serde_json::from_slice(bytes)?;
        if policy.default.is_empty() {
            return Err(Error::Empty("default".to_owned()));
        }
        for scopes in policy.transports.0.values() {
            if let Some((scope, _)) = scopes.0.iter().find(|(_, list)| list.is_empty()) {
                return Err(Error::Empty(scope.clone()));
            }
        }
        Ok(policy)
    }

    /// Whether `image` may be used: the most specific scope that fits it decides alone.
    ///
    /// # Errors
    ///
    /// When that scope asks for anything but `insecureAcceptAnything`.
    pub fn check(&self, image: &Reference) -> Result<(), Unmet> {
        let (scope, requirements) = self.requirements(image);
        match requirements
            .iter()
            .find(|one| one.kind != "insecureAcceptAnything")
        {
            None => Ok(()),
            Some(other) => Err(Unmet {
                scope,
                requirement: crate::text::cleaned(&other.kind, 80),
            }),
        }
    }

    /// Scopes of the docker transport from the most to the least specific: the whole reference, the
    /// repository, each part of its path, the host, `*.` with the rest of the host, the transport's
    /// own default, the policy's.
    fn requirements(&self, image: &Reference) -> (String, &[Requirement]) {
        let scopes = self.transports.0.get("docker");
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
            if let Some(list) = scopes.and_then(|scopes| scopes.0.get(&candidate)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, image: &str) -> Result<(), Unmet> {
        Policy::parse(policy.as_bytes())
            .unwrap()
            .check(&image.parse().unwrap())
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
                    "*.wild.example":[{{"type":"sigstoreSigned"}}]
                }}}}}}"#
        );
        let kind = |image: &str| {
            check(&policy, image)
                .err()
                .map(|unmet| (unmet.scope, unmet.requirement))
        };
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
        assert!(check(r#"{"default":[{"type":"reject"}]}"#, "nginx").is_err());
    }
}
