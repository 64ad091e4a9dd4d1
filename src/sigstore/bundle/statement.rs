//! The in-toto statement in an envelope: which images, and what is said of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::json::{self, Members};
use super::super::{KeyError, Refusal};
use super::COSIGN_SIGN_PREDICATE;
use crate::oci::{Algorithm, Digest};
use crate::text::cleaned;

/// The statement that is written.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// All that are read.
const STATEMENTS: [&str; 2] = [STATEMENT, "https://in-toto.io/Statement/v0.1"];

/// The digest that is understood.
const SHA256: &str = "sha256";

/// A verified in-toto statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Subjects; at least one.
    pub subjects: Vec<StatementSubject>,
    /// Predicate type.
    pub predicate_type: String,
}

/// One subject of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementSubject {
    /// Name; cosign 3 writes none, and an empty one is none.
    pub name: Option<String>,
    /// sha256 digest, where there is one.
    pub digest: Option<Digest>,
    /// Annotations: string values as they are, others as JSON text.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(borrow)]
    subject: Vec<Subject<'a>>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject<'a> {
    name: Option<String>,
    #[serde(borrow)]
    digest: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    predicate_type: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [WrittenSubject<'a>; 1],
    predicate_type: &'static str,
    predicate: Nothing,
}

#[derive(Serialize)]
struct WrittenSubject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    digest: WrittenDigest,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct WrittenDigest {
    sha256: String,
}

#[derive(Serialize)]
struct Nothing {}

impl Statement {
    /// Reads a statement. Keys that stand there twice are refused where a value of them is used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let document: Document<'_> =
            serde_json::from_slice(bytes).map_err(|error| json::form(&error))?;
        if !STATEMENTS.contains(&document.kind.as_str()) {
            let kind = cleaned(&document.kind, 100);
            return Err(Refusal::Form(format!(
                "`{kind}` is no statement of in-toto"
            )));
        }
        if document.subject.is_empty() {
            return Err(Refusal::Form("the statement has no subject".to_owned()));
        }
        let subjects: Result<_, _> = document.subject.into_iter().map(read).collect();
        Ok(Self {
            subjects: subjects?,
            predicate_type: document.predicate_type,
        })
    }
}

/// The predicate type alone, of a statement that nobody verified.
pub(super) fn claimed_predicate(bytes: &[u8]) -> Option<String> {
    let claim: Claim = serde_json::from_slice(bytes).ok()?;
    Some(claim.predicate_type)
}

fn read(subject: Subject<'_>) -> Result<StatementSubject, Refusal> {
    let digest = match subject.digest {
        None => None,
        Some(digests) => match Members::read(digests.get().as_bytes())?.get(SHA256) {
            None => None,
            Some(hex) => {
                let text = format!("{SHA256}:{}", json::decode::<String>(hex)?);
                let wrong = |error: crate::oci::Error| Refusal::Form(error.to_string());
                Some(text.parse().map_err(wrong)?)
            }
        },
    };
    let annotations = match subject.annotations {
        None => BTreeMap::new(),
        Some(annotations) => Members::read(annotations.get().as_bytes())?
            .iter()
            .map(|(key, value)| (key.to_owned(), json::shown(value)))
            .collect(),
    };
    Ok(StatementSubject {
        name: subject.name.filter(|name| !name.is_empty()),
        digest,
        annotations,
    })
}

/// The statement that cosign 3 writes for `subject`, with its name where it has one.
pub(super) fn write(subject: &StatementSubject) -> Result<Vec<u8>, KeyError> {
    let digest = subject
        .digest
        .filter(|digest| digest.algorithm() == Algorithm::Sha256)
        .ok_or_else(|| {
            KeyError::Form("a bundle needs a subject with a sha256 digest".to_owned())
        })?;
    let written = Written {
        kind: STATEMENT,
        subject: [WrittenSubject {
            name: subject.name.as_deref(),
            digest: WrittenDigest {
                sha256: digest.hex(),
            },
            annotations: &subject.annotations,
        }],
        predicate_type: COSIGN_SIGN_PREDICATE,
        predicate: Nothing {},
    };
    serde_json::to_vec(&written).map_err(|error| KeyError::Form(error.to_string()))
}
