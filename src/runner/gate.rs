//! What the host's `policy.json` asks of a source, with the keys that it names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::{Failure, Format, Kind, Outcome, Side, Stage};
use crate::oci::Reference;
use crate::policy::{KeySource, Policy, Requirement, SignedBy, SigstoreSigned};
use crate::sigstore::{
    Certificates, LoggedKeys, Pieces, Pki, PublicKey, Relaxed, Signers, Subject, TrustRoot, Whom,
};
use crate::verify::{Demand, Search};

/// What is in the files that a policy names, or why they cannot be read.
pub type Files = HashMap<String, Result<Vec<u8>, String>>;

/// The host's policy, ready to be asked.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    /// Who may sign, or why that cannot be used: it matters only where it is asked for, as for podman and
    /// skopeo.
    signers: HashMap<SignedBy, Result<Arc<Signers>, String>>,
}

impl Gate {
    /// The gate of `policy`, with what is in the `files` that it names.
    pub fn new(policy: Policy, files: &Files) -> Self {
        let signers = policy
            .signers()
            .map(|by| (by.clone(), signers(by, files).map(Arc::new)))
            .collect();
        Self { policy, signers }
    }

    /// Whether the policy refuses `image` whoever signed it, or asks for what is not there yet.
    pub(super) fn refuse(&self, image: &Reference) -> Result<(), Box<Outcome>> {
        let failure =
            |kind, cause: &str| Failure::because(Stage::Verify, Some(Side::Source), kind, cause);
        for (scope, requirement) in self.requirements(image) {
            match requirement {
                Requirement::InsecureAcceptAnything | Requirement::SigstoreSigned(_) => {}
                Requirement::Reject => {
                    let cause = format!(
                        "Running image docker://{image} is rejected by policy (scope `{scope}`)"
                    );
                    let failure = failure(Kind::Rejected, &cause);
                    return Err(Box::new(Outcome::Rejected(failure, None)));
                }
                Requirement::Unsupported(what) => {
                    let cause = format!(
                        "the policy asks for {what} in scope `{scope}`, which is not there yet"
                    );
                    let failure = failure(Kind::Unsupported, &cause);
                    return Err(Box::new(Outcome::NotTried(failure)));
                }
            }
        }
        Ok(())
    }

    /// All that is asked of `image`, each with its scope.
    fn requirements(&self, image: &Reference) -> Vec<(String, &Requirement)> {
        let readings = self.policy.readings(image).into_iter();
        readings
            .flat_map(|(scope, list)| list.iter().map(move |one| (scope.clone(), one)))
            .collect()
    }

    /// What the policy demands of signatures of `image`: all of it must be met. A key that cannot be used
    /// ends the line before anything is asked.
    pub(super) fn demands(&self, image: &Reference) -> Result<Vec<Demand>, Box<Outcome>> {
        let requirements = self.requirements(image).into_iter();
        let signed = requirements.filter_map(|(_, requirement)| match requirement {
            Requirement::SigstoreSigned(signed) => Some(signed),
            Requirement::InsecureAcceptAnything
            | Requirement::Reject
            | Requirement::Unsupported(_) => None,
        });
        signed
            .map(|signed| {
                let demand = self.demand(signed);
                demand.map_err(|failure| Box::new(Outcome::NotTried(failure)))
            })
            .collect()
    }

    fn demand(&self, signed: &SigstoreSigned) -> Result<Demand, Failure> {
        let fail = |cause: &str| {
            Failure::because(Stage::Verify, Some(Side::Source), Kind::Unsupported, cause)
        };
        let signers = match self.signers.get(&signed.by) {
            Some(Ok(signers)) => Arc::clone(signers),
            Some(Err(why)) => return Err(fail(why)),
            None => return Err(fail("a requirement of the policy was not read")),
        };
        Ok(Demand {
            signers,
            identity: signed.identity.clone(),
            annotations: BTreeMap::new(),
            // podman and skopeo know signatures under tags alone.
            search: Search::Only(Format::Tag),
        })
    }
}

/// Who may sign, with what is in files.
fn signers(by: &SignedBy, files: &Files) -> Result<Signers, String> {
    match by {
        SignedBy::Keys { keys: ours, logs } => {
            let ours = keys(ours, files)?;
            let Some(logs) = logs else {
                return Ok(Signers::Keys(ours));
            };
            let root = root(&Pieces {
                logs: keys(logs, files)?,
                ..Pieces::default()
            })?;
            LoggedKeys::new(ours, root).map(Signers::Logged)
        }
        SignedBy::Fulcio {
            authorities,
            issuer,
            email,
            logs,
        } => {
            let root = root(&Pieces {
                anchors: pems(authorities, files)?,
                logs: keys(logs, files)?,
                ..Pieces::default()
            })?;
            let (email, issuer) = (email.clone(), issuer.clone());
            Ok(Signers::Certificates(Certificates {
                root,
                whom: Whom::Address { email, issuer },
                // podman and skopeo do not ask logs of certificates.
                relaxed: Relaxed {
                    log: false,
                    sct: true,
                },
            }))
        }
        SignedBy::Pki {
            roots,
            intermediates,
            email,
            host,
        } => {
            let joined = |source| Ok::<_, String>(pems(source, files)?.join(&b'\n'));
            let roots = joined(roots)?;
            let intermediates = intermediates.as_ref().map(joined).transpose()?;
            let subject = Subject {
                email: email.clone(),
                host: host.clone(),
            };
            Pki::new(&roots, intermediates.as_deref(), subject)
                .map(Signers::Pki)
                .map_err(|why| format!("certificates of the policy: {why}"))
        }
    }
}

fn root(pieces: &Pieces) -> Result<Arc<TrustRoot>, String> {
    TrustRoot::assemble(pieces)
        .map(Arc::new)
        .map_err(|why| format!("what the policy trusts cannot be used: {why}"))
}

fn keys(source: &KeySource, files: &Files) -> Result<Vec<PublicKey>, String> {
    let read =
        |what: &str, pem: &[u8]| PublicKey::parse(pem).map_err(|error| format!("{what}: {error}"));
    match source {
        KeySource::Paths(paths) => paths
            .iter()
            .map(|path| {
                let what = format!("the policy's key `{path}`");
                read(&what, file(&what, path, files)?)
            })
            .collect(),
        KeySource::Data(data) => data
            .iter()
            .map(|pem| read("a key in the policy", pem))
            .collect(),
    }
}

fn pems(source: &KeySource, files: &Files) -> Result<Vec<Vec<u8>>, String> {
    match source {
        KeySource::Paths(paths) => paths
            .iter()
            .map(|path| {
                let what = format!("the policy's file `{path}`");
                file(&what, path, files).map(<[u8]>::to_vec)
            })
            .collect(),
        KeySource::Data(data) => Ok(data.clone()),
    }
}

fn file<'a>(what: &str, path: &str, files: &'a Files) -> Result<&'a [u8], String> {
    match files.get(path) {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(why)) => Err(format!("{what}: {why}")),
        None => Err(format!("{what} was not read")),
    }
}
