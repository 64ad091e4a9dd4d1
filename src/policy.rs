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
pub use requirement::{KeySource, Requirement, SignedBy, SigstoreSigned};

use std::collections::{BTreeMap, BTreeSet};

use strict::{Fields, Value};

use crate::oci::Reference;
use crate::text::cleaned;

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

    /// Who may sign, whatever the scope of the docker transport.
    pub fn signers(&self) -> impl Iterator<Item = &SignedBy> {
        let all = self.docker.values().chain([&self.default]).flatten();
        all.filter_map(|requirement| match requirement {
            Requirement::SigstoreSigned(signed) => Some(&signed.by),
            Requirement::InsecureAcceptAnything
            | Requirement::Reject
            | Requirement::Unsupported(_) => None,
        })
    }

    /// The files in which keys and certificates are looked for, as the policy writes their paths, each once.
    pub fn paths(&self) -> BTreeSet<&str> {
        self.signers().flat_map(SignedBy::paths).collect()
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
#[path = "policy_tests.rs"]
mod tests;
