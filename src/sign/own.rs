//! Who makes signatures, a key or a session that gets certificates; and how the own ones are known.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::event::Author;
use crate::keyless::Session;
use crate::oci::Descriptor;
use crate::sigstore::{
    Bundle, Material, Payload, PrivateKey, Refusal, SIGNATURE_ANNOTATION, Signers, Statement,
    StatementSubject,
};

use super::error::Cause;

/// Who makes signatures.
#[derive(Debug, Clone, Copy)]
pub enum Hand<'a> {
    /// A key.
    Key(&'a PrivateKey),
    /// Certificates for an identity token.
    Keyless(&'a Session),
}

impl<'a> Hand<'a> {
    /// The same with its name; a session takes a certificate where it has none yet, for only that says its
    /// name.
    pub(super) async fn own(self) -> Result<Own<'a>, Cause> {
        let (author, signers) = match self {
            Self::Key(key) => (
                Author::Key(key.public().id()),
                Signers::Keys(vec![key.public().clone()]),
            ),
            Self::Keyless(session) => {
                let signatory = session.signatory().await?;
                let signers = session.signers(&signatory)?;
                let author = Author::Certificate {
                    identity: signatory.identity,
                    issuer: signatory.issuer,
                };
                (author, signers)
            }
        };
        Ok(Own {
            hand: self,
            author,
            signers,
        })
    }
}

/// Who makes signatures, by name.
#[derive(Debug)]
pub(super) struct Own<'a> {
    hand: Hand<'a>,
    /// As reports name it.
    pub(super) author: Author,
    /// Whose signatures are the own ones.
    pub(super) signers: Signers,
}

impl Own<'_> {
    /// A new signature over `payload`: the annotations of the layer that has it.
    pub(super) async fn sign_payload(
        &self,
        payload: &[u8],
    ) -> Result<BTreeMap<String, String>, Cause> {
        match self.hand {
            Hand::Key(key) => {
                let signature = BASE64.encode(key.sign(payload)?);
                let name = SIGNATURE_ANNOTATION.to_owned();
                Ok(BTreeMap::from([(name, signature)]))
            }
            Hand::Keyless(session) => Ok(session.sign_payload(payload).await?),
        }
    }

    /// A new bundle that says `statement`.
    pub(super) async fn sign_bundle(&self, statement: &StatementSubject) -> Result<Vec<u8>, Cause> {
        match self.hand {
            Hand::Key(key) => Ok(Bundle::sign(key, statement)?),
            Hand::Keyless(session) => {
                Ok(session.sign_bundle(&Bundle::statement(statement)?).await?)
            }
        }
    }

    /// What an own signature over `payload` says that `layer` names.
    pub(super) fn payload(&self, payload: &[u8], layer: &Descriptor) -> Result<Payload, Refusal> {
        let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
        let signature = signature.unwrap_or_default();
        let material = Material::of_layer(layer);
        let (said, _) = self.signers.payload((payload, signature), &material)?;
        Ok(said)
    }

    /// What an own bundle says.
    pub(super) fn bundle(&self, bundle: &[u8]) -> Result<Statement, Refusal> {
        let (said, _) = self.signers.statement(&Bundle::parse(bundle)?)?;
        Ok(said)
    }
}
