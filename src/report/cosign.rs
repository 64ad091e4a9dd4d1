//! What was accepted, in the shape that `cosign verify` prints: for scripts that read it.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use serde::Serialize;

use super::{Error, Reporter};
use crate::event::{Certificate, Event, Evidence, Maker, Outcome, Validation};
use crate::oci::Digest;

/// `critical.type` of every signature.
const TYPE: &str = "cosign container image signature";
/// Names that cosign gives to what older certificates of GitHub say, beside their numbers.
const NAMED: [(&str, &str); 5] = [
    ("1.3.6.1.4.1.57264.1.2", "githubWorkflowTrigger"),
    ("1.3.6.1.4.1.57264.1.3", "githubWorkflowSha"),
    ("1.3.6.1.4.1.57264.1.4", "githubWorkflowName"),
    ("1.3.6.1.4.1.57264.1.5", "githubWorkflowRepository"),
    ("1.3.6.1.4.1.57264.1.6", "githubWorkflowRef"),
];
/// Who vouched for the identity, as older certificates have it, and cosign prints it always.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.1";

/// Writes, for each image whose signatures were accepted, one array with what each of them says; nothing for
/// others. What came of those the other reports say.
#[derive(Debug)]
pub struct Cosign<W> {
    out: W,
    /// What could not be written; whoever reads no more had what it wanted.
    lost: Option<io::ErrorKind>,
}

impl<W: Write> Cosign<W> {
    /// Writes to `out`.
    pub const fn new(out: W) -> Self {
        Self { out, lost: None }
    }

    fn write(&mut self, validation: &Validation) -> io::Result<()> {
        let accepted = validation.checked.iter().filter_map(|checked| {
            let evidence = checked.evidence.as_ref()?;
            Some(Payload::of(&checked.digest, evidence))
        });
        let mut line = serde_json::to_vec(&accepted.collect::<Vec<_>>())?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write> Reporter for Cosign<W> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        if let Event::Finished {
            outcome: Outcome::Accepted(validation),
            ..
        } = event
            && self.lost.is_none()
            && let Err(error) = self.write(validation)
        {
            self.lost = Some(error.kind());
        }
        match self.lost {
            None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
            Some(kind) => Err(super::results::lost(kind)),
        }
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    critical: Critical<'a>,
    optional: Option<BTreeMap<&'a str, &'a str>>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image<'a>,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Identity<'a> {
    /// Empty where the signature names nothing.
    #[serde(rename = "docker-reference")]
    reference: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    #[serde(rename = "docker-manifest-digest")]
    digest: &'a Digest,
}

impl<'a> Payload<'a> {
    fn of(digest: &'a Digest, evidence: &'a Evidence) -> Self {
        let mut optional: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in &evidence.annotations {
            optional.insert(name, value);
        }
        if let Maker::Certificate(certificate) = &evidence.by {
            // After the annotations, of which none may pass for what a certificate proves.
            proven(certificate, &mut optional);
        }
        Self {
            critical: Critical {
                identity: Identity {
                    reference: evidence.identity.as_deref().unwrap_or_default(),
                },
                image: Image { digest },
                r#type: TYPE,
            },
            optional: (!optional.is_empty()).then_some(optional),
        }
    }
}

/// What the certificate says, under cosign's names.
fn proven<'a>(certificate: &'a Certificate, optional: &mut BTreeMap<&'a str, &'a str>) {
    for (oid, value) in &certificate.claims {
        optional.insert(oid, value);
        if let Some((_, name)) = NAMED.iter().find(|(number, _)| number == oid) {
            optional.insert(name, value);
        }
    }
    optional.insert("Subject", &certificate.identity);
    if !certificate.issuer.is_empty() {
        optional.insert("Issuer", &certificate.issuer);
        optional.insert(ISSUER, &certificate.issuer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Checked, Format, Role, Verdict};
    use crate::oci::{Pinned, Reference};
    use crate::plan::JobId;

    #[test]
    fn what_was_accepted_has_the_shape_of_cosigns() {
        let image: Reference = "a.example/app:1".parse().unwrap();
        let digest = Digest::sha256(b"x");
        let evidence = |by, annotations: &[(&str, &str)]| Evidence {
            by,
            format: Format::Tag,
            identity: Some("a.example/app".to_owned()),
            identity_proven: true,
            annotations: annotations
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let by_key = Maker::Key {
            id: "k".to_owned(),
            time: None,
        };
        let by_job = Maker::Certificate(Box::new(Certificate {
            identity: "https://git.example/a//.gitlab-ci.yml@refs/heads/main".to_owned(),
            issuer: "https://git.example".to_owned(),
            time: None,
            logged: true,
            transparent: true,
            claims: BTreeMap::from([(NAMED[1].0.to_owned(), "abc".to_owned())]),
        }));
        let checked = |evidence| Checked {
            digest,
            role: Role::Platform(None),
            verdict: Verdict::Accepted,
            evidence: Some(evidence),
            reasons: Vec::new(),
            trouble: None,
            hint: None,
        };
        let validation = Validation {
            image: Pinned {
                repository: image.repository,
                digest,
            },
            checked: vec![
                checked(evidence(by_key, &[])),
                checked(evidence(by_job, &[("tag", "1"), ("Issuer", "somebody")])),
            ],
            unchecked: Vec::new(),
            absent: Vec::new(),
        };
        let mut out = Vec::new();
        Cosign::new(&mut out)
            .event(&Event::Finished {
                job: JobId::new(0),
                outcome: Outcome::Accepted(Box::new(validation)),
                elapsed: std::time::Duration::ZERO,
            })
            .unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let critical = serde_json::json!({
            "identity": { "docker-reference": "a.example/app" },
            "image": { "docker-manifest-digest": digest.to_string() },
            "type": TYPE,
        });
        assert_eq!(
            read,
            serde_json::json!([
                { "critical": critical, "optional": null },
                { "critical": critical, "optional": {
                    "1.3.6.1.4.1.57264.1.1": "https://git.example",
                    "1.3.6.1.4.1.57264.1.3": "abc",
                    "Issuer": "https://git.example",
                    "Subject": "https://git.example/a//.gitlab-ci.yml@refs/heads/main",
                    "githubWorkflowSha": "abc",
                    "tag": "1",
                } },
            ])
        );
        assert!(out.ends_with(b"]\n"));
    }

    #[test]
    fn of_what_was_not_accepted_nothing_is_said() {
        let mut out = Vec::new();
        for outcome in [
            Outcome::NotVerified,
            Outcome::Duplicate { of: JobId::new(0) },
        ] {
            Cosign::new(&mut out)
                .event(&Event::Finished {
                    job: JobId::new(0),
                    outcome,
                    elapsed: std::time::Duration::ZERO,
                })
                .unwrap();
        }
        assert!(out.is_empty());
    }
}
