//! What one signature says, once a key has vouched for it.

use std::collections::BTreeMap;

use crate::event::{Evidence, Format};
use crate::oci::{Descriptor, Digest, Reference};
use crate::policy::SignedIdentity;
use crate::sigstore::{
    Bundle, COSIGN_SIGN_PREDICATE, Payload, PublicKey, Refusal, StatementSubject,
};

use super::Demand;
use super::gather::{CERTIFICATE, other_predicate};

/// What a signature says of a digest that one of the keys made.
#[derive(Debug)]
pub(super) struct Said {
    /// The id of that key.
    key: String,
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
    /// It is none by these keys for this digest.
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
    keys: &[PublicKey],
    format: Format,
    (layer, signature, payload): (&Descriptor, &str, &[u8]),
) -> Result<Said, Unfit> {
    let has_certificate = layer.annotations.contains_key(CERTIFICATE);
    let (payload, position) = Payload::verify(payload, signature, keys)
        .map_err(|refusal| refused(&refusal, has_certificate))?;
    if payload.digest != *subject {
        return Err(Unfit::Refused(wrong_digest(&payload.digest)));
    }
    Ok(Said {
        key: id(keys, position),
        format,
        identity: Some(payload.reference),
        annotations: payload.optional,
    })
}

/// What a bundle says of `subject`, once for each of its subjects that is meant; not empty.
pub(super) fn bundle(
    subject: &Digest,
    keys: &[PublicKey],
    bytes: &[u8],
) -> Result<Vec<Said>, Unfit> {
    let bundle = Bundle::parse(bytes).map_err(|refusal| refused(&refusal, false))?;
    // An attestation is usually by somebody else's key: what it is says more than that.
    if let Some(predicate) = bundle.claimed_predicate()
        && predicate != COSIGN_SIGN_PREDICATE
    {
        return Err(Unfit::Other(other_predicate(predicate)));
    }
    let (statement, position) = bundle
        .verify(keys)
        .map_err(|refusal| refused(&refusal, false))?;
    if statement.predicate_type != COSIGN_SIGN_PREDICATE {
        return Err(Unfit::Other(other_predicate(&statement.predicate_type)));
    }
    let is_meant = |other: &&StatementSubject| other.digest == Some(*subject);
    let said: Vec<Said> = statement
        .subjects
        .iter()
        .filter(is_meant)
        .map(|subject| Said {
            key: id(keys, position),
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
            key: self.key,
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

fn id(keys: &[PublicKey], position: usize) -> String {
    keys.get(position).map(PublicKey::id).unwrap_or_default()
}

fn refused(refusal: &Refusal, has_certificate: bool) -> Unfit {
    let certificate = if has_certificate {
        "; it carries a certificate, and certificates cannot be verified yet"
    } else {
        ""
    };
    Unfit::Refused(format!("{refusal}{certificate}"))
}

fn wrong_digest(digest: &Digest) -> String {
    format!("Signature for digest {digest} does not match")
}
