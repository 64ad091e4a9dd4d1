//! What the host's `policy.json` asks of a source, with the keys that it names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::{Failure, Format, Kind, Outcome, Side, Stage};
use crate::oci::Reference;
use crate::policy::{KeySource, Policy, Requirement, SigstoreSigned};
use crate::sigstore::{PublicKey, Signers};
use crate::verify::{Demand, Search};

/// The host's policy, ready to be asked.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    /// The keys at the paths that the policy names, or why they cannot be used: that matters only where
    /// one is asked for, as for podman and skopeo.
    keys: HashMap<String, Result<PublicKey, String>>,
}

impl Gate {
    /// The gate of `policy`, with the `keys` at the paths it names.
    pub const fn new(policy: Policy, keys: HashMap<String, Result<PublicKey, String>>) -> Self {
        Self { policy, keys }
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
        let fail = |cause: String| {
            Failure::because(Stage::Verify, Some(Side::Source), Kind::Unsupported, &cause)
        };
        let keys: Result<Vec<PublicKey>, Failure> = match &signed.keys {
            KeySource::Paths(paths) => paths
                .iter()
                .map(|path| match self.keys.get(path) {
                    Some(Ok(key)) => Ok(key.clone()),
                    Some(Err(why)) => Err(fail(format!("the policy's key `{path}`: {why}"))),
                    None => Err(fail(format!("the policy's key `{path}` was not read"))),
                })
                .collect(),
            KeySource::Data(data) => data
                .iter()
                .map(|pem| {
                    PublicKey::parse(pem)
                        .map_err(|error| fail(format!("a key in the policy: {error}")))
                })
                .collect(),
        };
        Ok(Demand {
            signers: Arc::new(Signers::Keys(keys?)),
            identity: signed.identity.clone(),
            annotations: BTreeMap::new(),
            // podman and skopeo know signatures under tags alone.
            search: Search::Only(Format::Tag),
        })
    }
}
