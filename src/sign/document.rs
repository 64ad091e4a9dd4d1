//! The documents that are written: layers, configs and manifests in the shape of cosign's.
//!
//! All of them depend on nothing but what they are made from. cosign writes the time into the manifests of
//! bundles (`org.opencontainers.image.created`); we do not, for nothing reads it, and it would only tell
//! when a mirror ran.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::attached::{config_of, relayered};
use crate::oci::{self, Descriptor, Digest, Manifest, MediaType, Reason};
use crate::sigstore::{
    COSIGN_SIGN_PREDICATE, PREDICATE_ANNOTATION, SIGNATURE_CONFIG, SIMPLE_SIGNING,
};

/// The bundles that are written.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The config of a manifest that needs none (OCI image specification 1.1, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The bytes of that config.
pub(super) const EMPTY_BYTES: &[u8] = b"{}";

/// A descriptor as it is written, its fields in the order of Go's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    media_type: &'a str,
    size: u64,
    digest: Digest,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
}

impl<'a> Written<'a> {
    fn of(media_type: &'a str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), size(bytes))
    }

    fn new(media_type: &'a str, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            size,
            digest,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }
}

/// A manifest as it is written, its fields in the order of Go's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fresh<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Written<'a>,
    layers: [Written<'a>; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Written<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
}

impl Fresh<'_> {
    fn manifest(&self) -> Result<Manifest, oci::Error> {
        Manifest::parse(json(self)?.into(), &MediaType::OciManifest)
    }
}

/// A signature with the bytes that it is over.
pub(super) struct Signed<'a> {
    pub(super) payload: &'a Bytes,
    /// The signature, and what belongs to it.
    pub(super) annotations: &'a BTreeMap<String, String>,
}

impl Signed<'_> {
    fn layer(&self) -> Written<'_> {
        let annotations = self.annotations.iter();
        Written {
            annotations: annotations
                .map(|(name, text)| (name.as_str(), text.as_str()))
                .collect(),
            ..Written::of(SIMPLE_SIGNING, self.payload)
        }
    }

    /// The manifest of the tag format with this signature added to those of `old`, and its config.
    ///
    /// What `old` has stays as it is, byte for byte, but for its config, which lists the layers and says
    /// nothing else (containers/image and cosign read signatures without it).
    ///
    /// # Errors
    ///
    /// When `old` is no image manifest, or would become larger than a manifest may be.
    pub(super) fn added_to(&self, old: Option<&Manifest>) -> Result<(Manifest, Bytes), oci::Error> {
        let Some(old) = old else {
            let config = config_of(&[Digest::sha256(self.payload)])?;
            let manifest = self.alone(MediaType::OciConfig.as_str(), &config, None)?;
            return Ok((manifest, config));
        };
        // Anything but an image manifest is somebody else's, and not added to.
        if !matches!(
            old.media_type(),
            MediaType::OciManifest | MediaType::DockerManifest
        ) {
            return Err(not_an_image(old));
        }
        relayered(old, &|_| true, &[json(&self.layer())?])
    }

    /// The manifest of the referrer format, and its config.
    pub(super) fn referring_to(
        &self,
        subject: &Descriptor,
    ) -> Result<(Manifest, Bytes), oci::Error> {
        let config = config_of(&[Digest::sha256(self.payload)])?;
        let manifest = self.alone(SIGNATURE_CONFIG, &config, Some(subject))?;
        Ok((manifest, config))
    }

    fn alone(
        &self,
        config_type: &str,
        config: &Bytes,
        subject: Option<&Descriptor>,
    ) -> Result<Manifest, oci::Error> {
        let fresh = Fresh {
            schema_version: 2,
            media_type: MediaType::OciManifest.as_str(),
            config: Written::of(config_type, config),
            layers: [self.layer()],
            annotations: BTreeMap::new(),
            subject: subject.map(named),
            artifact_type: None,
        };
        fresh.manifest()
    }
}

/// The manifest that attaches `bundle` to `subject`; its config is [`EMPTY_BYTES`].
pub(super) fn bundle_for(subject: &Descriptor, bundle: &[u8]) -> Result<Manifest, oci::Error> {
    let fresh = Fresh {
        schema_version: 2,
        media_type: MediaType::OciManifest.as_str(),
        config: Written {
            artifact_type: Some(BUNDLE),
            ..Written::of(EMPTY, EMPTY_BYTES)
        },
        layers: [Written::of(BUNDLE, bundle)],
        annotations: BTreeMap::from([
            ("dev.sigstore.bundle.content", "dsse-envelope"),
            (PREDICATE_ANNOTATION, COSIGN_SIGN_PREDICATE),
        ]),
        subject: Some(named(subject)),
        artifact_type: Some(BUNDLE),
    };
    fresh.manifest()
}

fn named(subject: &Descriptor) -> Written<'_> {
    Written::new(subject.media_type.as_str(), subject.digest, subject.size)
}

fn not_an_image(manifest: &Manifest) -> oci::Error {
    oci::Error::new(
        "signature manifest",
        &manifest.digest().to_string(),
        Reason::Grammar("it is no image manifest"),
    )
}

fn json(value: &impl Serialize) -> Result<String, oci::Error> {
    serde_json::to_string(value).map_err(|error| unwritten(&error))
}

fn unwritten(error: &serde_json::Error) -> oci::Error {
    oci::Error::new("document", "", Reason::Json(error.to_string()))
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
