//! What one signature says, once somebody who may sign has vouched for it.

use std::collections::BTreeMap;

use crate::event::{Certificate, Evidence, Format, Maker};
use crate::oci::{Descriptor, Digest, Reference};
use crate::policy::SignedIdentity;
use crate::sigstore::{
    self, Bundle, COSIGN_SIGN_PREDICATE, Material, Refusal, Signers, StatementSubject,
};

use super::Demand;
use super::bounds::printable;
use super::gather::other_predicate;

/// What a signature says of a digest that somebody made who may sign.
#[derive(Debug)]
pub(super) struct Said {
    by: Maker,
    format: Format,
    /// The identity it names, if it names one.
    identity: Option<String>,
    annotations: BTreeMap<String, String>,
}

/// Why something is not what was looked for.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is no signature.
    Other(String),
    /// It is none by those who may sign, for this digest.
    Refused(String),
}

/// What a signature names.
#[derive(Debug)]
pub(super) enum Named {
    /// Nothing, as bundles of others do.
    Nothing,
    /// This identity.
    Identity(String),
}

/// Why a signature by one of the keys for this digest is not accepted.
#[derive(Debug)]
pub(super) enum Unaccepted {
    /// It names something else than is demanded.
    Identity(Named, String),
    /// Its annotations.
    Annotations(String),
}

/// What a signature in the tag format says of `subject`.
///
/// The order is that of containers/image: base64, key, JSON, digest; identity and annotations follow
/// in [`Said::accepted`].
pub(super) fn simple(
    subject: &Digest,
    signers: &Signers,
    format: Format,
    (layer, signature, payload): (&Descriptor, &str, &[u8]),
) -> Result<Said, Unfit> {
    let material = Material::of_layer(layer);
    let (payload, maker) = signers
        .payload((payload, signature), &material)
        .map_err(|refusal| refused(&refusal, material.has_certificate(), signers))?;
    if payload.digest != *subject {
        return Err(Unfit::Refused(wrong_digest(&payload.digest)));
    }
    Ok(Said {
        by: by(maker),
        format,
        identity: Some(payload.reference),
        annotations: payload.optional,
    })
}

/// What a bundle says of `subject`, once for each of its subjects that is meant; not empty.
pub(super) fn bundle(
    subject: &Digest,
    signers: &Signers,
    bytes: &[u8],
) -> Result<Vec<Said>, Unfit> {
    let unfit = |refusal: &Refusal| Unfit::Refused(refusal.to_string());
    let bundle = Bundle::parse(bytes).map_err(|refusal| unfit(&refusal))?;
    // An attestation is usually by somebody else's key: what it is says more than that.
    if let Some(predicate) = bundle.claimed_predicate()
        && predicate != COSIGN_SIGN_PREDICATE
    {
        return Err(Unfit::Other(other_predicate(predicate)));
    }
    let (statement, maker) = signers
        .statement(&bundle)
        .map_err(|refusal| refused(&refusal, bundle.has_certificate(), signers))?;
    let maker = by(maker);
    if statement.predicate_type != COSIGN_SIGN_PREDICATE {
        return Err(Unfit::Other(other_predicate(&statement.predicate_type)));
    }
    let is_meant = |other: &&StatementSubject| other.digest == Some(*subject);
    let said: Vec<Said> = statement
        .subjects
        .iter()
        .filter(is_meant)
        .map(|subject| Said {
            by: maker.clone(),
            format: Format::Bundle,
            identity: subject.name.clone().filter(|name| !name.is_empty()),
            annotations: subject.annotations.clone(),
        })
        .collect();
    if said.is_empty() {
        let other = statement.subjects.iter().find_map(|subject| subject.digest);
        let reason = other.map_or_else(
            || "the bundle names no digest of an image".to_owned(),
            |other| wrong_digest(&other),
        );
        return Err(Unfit::Refused(reason));
    }
    Ok(said)
}

impl Said {
    /// The same as evidence, its identity compared or not.
    pub(super) fn evidence(self, identity_proven: bool) -> Evidence {
        Evidence {
            by: self.by,
            format: self.format,
            identity: self.identity,
            identity_proven,
            annotations: self.annotations,
        }
    }

    /// Whether it is what is demanded of a manifest that is compared as `named`.
    pub(super) fn accepted(
        self,
        demand: &Demand,
        named: &Reference,
    ) -> Result<Evidence, Unaccepted> {
        let identity_proven = demand.identity != SignedIdentity::DigestOnly;
        match &self.identity {
            _ if !identity_proven => {}
            Some(identity) if demand.identity.accepts(named, identity) => {}
            Some(identity) => {
                let reason = format!("Signature for identity \"{identity}\" is not accepted");
                return Err(Unaccepted::Identity(
                    Named::Identity(identity.clone()),
                    reason,
                ));
            }
            None => {
                let reason = "the bundle names no repository; --signed-identity digestOnly accepts it, and \
                              proves the digest alone";
                return Err(Unaccepted::Identity(Named::Nothing, reason.to_owned()));
            }
        }
        for (name, wanted) in &demand.annotations {
            let reason = match self.annotations.get(name) {
                Some(value) if value == wanted => continue,
                Some(value) => format!("annotation {name}={wanted} is \"{value}\""),
                None => format!("annotation {name}={wanted} is missing"),
            };
            return Err(Unaccepted::Annotations(reason));
        }
        Ok(self.evidence(identity_proven))
    }
}

fn by(maker: sigstore::Maker) -> Maker {
    match maker {
        sigstore::Maker::Key { id, time } => Maker::Key {
            id,
            time: time.map(|time| time.to_string()),
        },
        sigstore::Maker::Certificate(certified) => Maker::Certificate(Box::new(Certificate {
            identity: printable(&certified.identity),
            issuer: printable(&certified.issuer),
            time: certified.time.map(|time| time.to_string()),
            logged: certified.logged,
            transparent: certified.transparent,
            claims: certified
                .claims
                .into_iter()
                .map(|(oid, said)| (oid, printable(&said)))
                .collect(),
        })),
    }
}

/// The refusal, with what there is to say of a signature of the other kind.
fn refused(refusal: &Refusal, has_certificate: bool, signers: &Signers) -> Unfit {
    let other = match (has_certificate, signers.by_certificate()) {
        (true, false) => {
            "; it carries a certificate: `--certificate-identity` and `--certificate-oidc-issuer` verify it"
        }
        (false, true) => "; a key made it, which `--key` verifies",
        (false, false) if matches!(refusal, Refusal::Signature) => {
            "; none of the keys that are accepted made it"
        }
        (true, true) | (false, false) => "",
    };
    Unfit::Refused(format!("{refusal}{other}"))
}

fn wrong_digest(digest: &Digest) -> String {
    format!("Signature for digest {digest} does not match")
}
