//! What a referrer is, by its own bytes, and whether a signature is the site's own.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::limits::signature::{BUNDLE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::oci::{Descriptor, Digest, Manifest, Repository, View};
use crate::registry::{self, Client, ErrorKind};
use crate::sigstore::{
    Bundle, COSIGN_SIGN_PREDICATE, PREDICATE_ANNOTATION, Payload, PublicKey, SIGNATURE_ANNOTATION,
    SIGNATURE_CONFIG, SIMPLE_SIGNING,
};

/// The type of a Notation signature.
const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";
/// The annotation of a bundle's manifest with what is in it.
const CONTENT: &str = "dev.sigstore.bundle.content";

/// What a referrer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// So many signatures.
    Signature(u64),
    /// Anything else: an attestation, an SBOM, a picture.
    Other,
    /// A bundle that cannot be read, so that what it is cannot be told.
    Unknown,
}

/// What the referrer `manifest` in `repository` is. A bundle that does not say it in its manifest is
/// read.
///
/// # Errors
///
/// When a bundle could not be asked for; one that is gone or broken is [`Class::Unknown`].
pub(super) async fn class(
    client: &Client,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Class, registry::Error> {
    let View::Image(image) = manifest.view() else {
        return Ok(Class::Other);
    };
    let config = image.config.as_ref().map(|one| one.media_type.as_str());
    let types = [image.artifact_type.as_deref(), config];
    if types.contains(&Some(SIGNATURE_CONFIG)) || payloads(manifest).next().is_some() {
        return Ok(Class::Signature(super::layers_of(manifest).max(1)));
    }
    if types.contains(&Some(NOTATION_SIGNATURE)) {
        return Ok(Class::Signature(1));
    }
    let Some(layer) = bundle(manifest) else {
        let claims = types.iter().flatten().any(|one| Bundle::is_media_type(one));
        return Ok(if claims { Class::Unknown } else { Class::Other });
    };
    if image.annotations.get(CONTENT) == Some("message-signature") {
        return Ok(Class::Signature(1));
    }
    if let Some(predicate) = image.annotations.get(PREDICATE_ANNOTATION) {
        return Ok(of_predicate(predicate));
    }
    let bytes = match small(client, repository, layer, BUNDLE_BYTES_MAX).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Class::Unknown),
        Err(error) if matches!(error.kind, ErrorKind::Integrity(_)) => return Ok(Class::Unknown),
        Err(error) => return Err(error),
    };
    let Ok(bundle) = Bundle::parse(&bytes) else {
        return Ok(Class::Unknown);
    };
    Ok(match bundle.claimed_predicate() {
        Some(predicate) => of_predicate(predicate),
        None if is_over_digest(&bytes) => Class::Signature(1),
        None => Class::Unknown,
    })
}

fn of_predicate(predicate: &str) -> Class {
    if predicate == COSIGN_SIGN_PREDICATE {
        Class::Signature(1)
    } else {
        Class::Other
    }
}

/// Whether a bundle holds no statement, but a signature over a digest.
fn is_over_digest(bundle: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        message_signature: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Message>(bundle).is_ok_and(|bundle| bundle.message_signature.is_some())
}

/// The layers that are signed payloads.
pub(super) fn payloads(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let layers = match manifest.view() {
        View::Image(image) => image.layers.as_slice(),
        View::Index(_) => &[],
    };
    let is_payload = |layer: &&Descriptor| layer.media_type.as_str() == SIMPLE_SIGNING;
    layers.iter().filter(is_payload)
}

/// The layer that is a bundle.
fn bundle(manifest: &Manifest) -> Option<&Descriptor> {
    let View::Image(image) = manifest.view() else {
        return None;
    };
    let is_bundle = |layer: &&Descriptor| Bundle::is_media_type(layer.media_type.as_str());
    image.layers.iter().find(is_bundle)
}

/// The bytes of a blob; `None` where it is larger than `limit`, or gone. Bytes that are not what they are
/// called are an error: nobody's own signature is removed for a fault on the way.
async fn small(
    client: &Client,
    repository: &Repository,
    blob: &Descriptor,
    limit: u64,
) -> Result<Option<Bytes>, registry::Error> {
    if blob.size > limit {
        return Ok(None);
    }
    match client.pull_small_blob(repository, blob, limit).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `key` made the signature in the layer `layer` of the tag format, and it speaks of `subject`.
///
/// # Errors
///
/// When the layer could not be asked for.
pub(super) async fn is_layer_by(
    key: &PublicKey,
    (client, repository): (&Client, &Repository),
    layer: &Descriptor,
    subject: &Digest,
) -> Result<bool, registry::Error> {
    let Some(signature) = layer.annotations.get(SIGNATURE_ANNOTATION) else {
        return Ok(false);
    };
    let read = small(client, repository, layer, PAYLOAD_BYTES_MAX).await?;
    let verified = read
        .and_then(|payload| Payload::verify(&payload, signature, std::slice::from_ref(key)).ok());
    Ok(verified.is_some_and(|(payload, _)| payload.digest == *subject))
}

/// The same of a referrer: of one of its layers, or of its bundle.
///
/// # Errors
///
/// When a layer could not be asked for.
pub(super) async fn is_referrer_by(
    key: &PublicKey,
    (client, repository): (&Client, &Repository),
    manifest: &Manifest,
    subject: &Digest,
) -> Result<bool, registry::Error> {
    for layer in payloads(manifest) {
        if is_layer_by(key, (client, repository), layer, subject).await? {
            return Ok(true);
        }
    }
    let Some(layer) = bundle(manifest) else {
        return Ok(false);
    };
    let Some(bytes) = small(client, repository, layer, BUNDLE_BYTES_MAX).await? else {
        return Ok(false);
    };
    let verified = Bundle::parse(&bytes)
        .ok()
        .and_then(|bundle| bundle.verify(std::slice::from_ref(key)).ok());
    Ok(verified.is_some_and(|(statement, _)| {
        statement.predicate_type == COSIGN_SIGN_PREDICATE
            && statement
                .subjects
                .iter()
                .any(|one| one.digest == Some(*subject))
    }))
}
