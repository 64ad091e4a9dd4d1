//! What a host's `policy.json` asks of a source (containers-policy.json(5)); pure.
//!
//! Only `insecureAcceptAnything` is implemented yet. Whatever else a scope asks for is named, so that
//! its images can be refused by name; nothing is ever passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::oci::Reference;

/// The largest policy that is read, in bytes.
pub const POLICY_BYTES_MAX: u64 = 1024 * 1024;

/// A policy: requirements by transport and scope.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
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
        for scopes in policy.transports.values() {
            if let Some((scope, _)) = scopes.iter().find(|(_, list)| list.is_empty()) {
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
        let scopes = self.transports.get("docker");
        let repository = image.repository.to_string();
        let mut candidates = Vec::new();
        match (&image.digest, &image.tag) {
            (Some(digest), _) => candidates.push(format!("{repository}@{digest}")),
            (None, Some(tag)) => candidates.push(format!("{repository}:{tag}")),
            (None, None) => candidates.push(format!("{repository}:latest")),
        }
        let mut rest = repository.as_str();
        candidates.push(rest.to_owned());
        while let Some((parent, _)) = rest.rsplit_once('/') {
            candidates.push(parent.to_owned());
            rest = parent;
        }
        // Wildcards stand for hosts without a port's sake: `*.example.com` fits `a.example.com:5000`
        // only when written with the port.
        let mut host = rest;
        while let Some((_, parent)) = host.split_once('.') {
            candidates.push(format!("*.{parent}"));
            host = parent;
        }
        candidates.push(String::new());
        for candidate in candidates {
            if let Some(list) = scopes.and_then(|scopes| scopes.get(&candidate)) {
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
        ] {
            assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check(r#"{"default":[{"type":"reject"}]}"#, "nginx").is_err());
    }
}
