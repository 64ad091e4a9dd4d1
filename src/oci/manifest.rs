//! Manifests: raw bytes with a parsed view.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::image::{MANIFEST_BYTES_MAX, OBJECT_FIELDS_MAX};

use super::descriptor::or_empty;
use super::{Annotations, Descriptor, Digest, Error, Measure, MediaType, Reason};

/// A manifest: the bytes as they were served, their digest, and a view for reading.
///
/// Invariant: `digest` was computed over `raw`, and the view was read from `raw`. Nothing is ever
/// serialised from the view.
#[derive(Clone)]
pub struct Manifest {
    raw: Bytes,
    digest: Digest,
    media_type: MediaType,
    // Shared, for it may be a few times as large as the bytes.
    view: Arc<View>,
}

/// What a manifest says.
#[derive(Debug, Clone)]
pub enum View {
    /// A single image or artifact: names blobs.
    Image(Box<Image>),
    /// A list of manifests.
    Index(Box<Index>),
}

/// The view of an image manifest, a Docker schema 2 manifest, or an artifact of any type.
#[derive(Debug, Clone)]
pub struct Image {
    /// The config; old artifact manifests have none.
    pub config: Option<Descriptor>,
    /// The layers, or the blobs of an old artifact manifest, in their order.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The type of an artifact.
    pub artifact_type: Option<String>,
    /// Free annotations; those that are no texts are passed over.
    pub annotations: Annotations,
}

impl Image {
    /// Config and layers: all blobs that must be there before the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }
}

/// The view of an image index or a Docker manifest list.
#[derive(Debug, Clone)]
pub struct Index {
    /// The manifests, in their order.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The type of an artifact.
    pub artifact_type: Option<String>,
}

/// Everything the view needs; all other fields are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "or_empty")]
    artifact_type: String,
    fs_layers: Option<IgnoredAny>,
    annotations: Option<Box<RawValue>>,
}

impl Manifest {
    /// Reads a manifest that was served as `content_type`.
    ///
    /// The document's own `mediaType` decides, then the content type, then the shape.
    ///
    /// # Errors
    ///
    /// When it is larger than [`MANIFEST_BYTES_MAX`], has too many values, is no JSON object, names a field twice or
    /// in another case than readers that fold it, calls itself something else than it was served as, can be read both as an index and as an image
    /// (CVE-2021-41190), names nothing at all, or is Docker schema 1.
    pub fn parse(raw: Bytes, content_type: &MediaType) -> Result<Self, Error> {
        let fail = |reason| {
            let shown = String::from_utf8_lossy(raw.get(..200).unwrap_or(&raw)).into_owned();
            Error::new("manifest", &shown, reason)
        };
        if raw.len() > MANIFEST_BYTES_MAX {
            return Err(fail(Reason::TooLong(MANIFEST_BYTES_MAX)));
        }
        Measure::of(&raw).check().map_err(fail)?;
        let json = |error: serde_json::Error| fail(Reason::of_json(&error));
        let mut fields = serde_json::Deserializer::from_slice(&raw);
        Spelled(Part::Document)
            .deserialize(&mut fields)
            .map_err(json)?;
        let document: Document = serde_json::from_slice(&raw).map_err(|error| {
            // Schema 1 has another shape altogether and shall be named as what it is.
            if matches!(content_type, MediaType::DockerSchema1) {
                fail(Reason::Schema1)
            } else {
                json(error)
            }
        })?;
        let media_type = document.kind(content_type).map_err(fail)?;
        let view = document.view(&media_type).map_err(fail)?;
        let digest = Digest::sha256(&raw);
        Ok(Self {
            raw,
            digest,
            media_type,
            view: Arc::new(view),
        })
    }

    /// The bytes as they were served.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The digest of the bytes, by SHA-256.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The same manifest named by `digest`, which may be of another algorithm.
    ///
    /// `None` when the bytes do not have that digest.
    #[must_use]
    pub fn named(mut self, digest: Digest) -> Option<Self> {
        let fits = self.digest == digest || digest.of_same_kind(&self.raw) == digest;
        self.digest = digest;
        fits.then_some(self)
    }

    /// The media type under which it is pushed.
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// What it says.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The size of the bytes.
    pub fn size(&self) -> u64 {
        u64::try_from(self.raw.len()).unwrap_or(u64::MAX)
    }

    /// The index, if it is one.
    pub fn as_index(&self) -> Option<&Index> {
        match &*self.view {
            View::Index(index) => Some(index),
            View::Image(_) => None,
        }
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("digest", &self.digest)
            .field("media_type", &self.media_type)
            .field("size", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Which media type holds, once the document and the server were compared.
    fn kind(&self, content_type: &MediaType) -> Result<MediaType, Reason> {
        if self.schema_version == Some(1)
            || self.fs_layers.is_some()
            || matches!(content_type, MediaType::DockerSchema1)
        {
            return Err(Reason::Schema1);
        }
        match &self.media_type {
            Some(own) if own == content_type || content_type.is_generic() => Ok(own.clone()),
            Some(own) => Err(Reason::MediaTypes {
                inner: own.to_string(),
                outer: content_type.to_string(),
            }),
            None if !content_type.is_generic() => Ok(content_type.clone()),
            None if self.manifests.is_some() => Ok(MediaType::OciIndex),
            None => Ok(MediaType::OciManifest),
        }
    }

    fn view(self, media_type: &MediaType) -> Result<View, Reason> {
        let is_image = self.config.is_some() || self.layers.is_some() || self.blobs.is_some();
        let artifact_type = Some(self.artifact_type).filter(|text| !text.is_empty());
        match self.manifests {
            Some(_) if is_image => Err(Reason::Grammar(
                "it can be read as an index and as an image",
            )),
            Some(_) if media_type.is_image() => {
                Err(Reason::Grammar("an image manifest has no `manifests`"))
            }
            Some(manifests) => Ok(View::Index(Box::new(Index {
                manifests,
                subject: self.subject,
                artifact_type,
            }))),
            None if media_type.is_index() => Err(Reason::Grammar("an index has `manifests`")),
            None if media_type.is_image() && self.config.is_none() => {
                Err(Reason::Grammar("an image manifest has a `config`"))
            }
            None if !is_image => Err(Reason::Grammar(
                "it names neither manifests nor blobs, so what belongs to it cannot be known",
            )),
            None => {
                let mut layers = self.layers.unwrap_or_default();
                layers.extend(self.blobs.unwrap_or_default());
                Ok(View::Image(Box::new(Image {
                    config: self.config,
                    layers,
                    subject: self.subject,
                    artifact_type,
                    annotations: self
                        .annotations
                        .as_deref()
                        .map(Annotations::texts_of)
                        .unwrap_or_default(),
                })))
            }
        }
    }
}

/// Which part of a document has its fields checked by [`Spelled`].
#[derive(Debug, Clone, Copy)]
enum Part {
    Document,
    Descriptors,
    Descriptor,
    Platform,
}

impl Part {
    /// The fields that decide something, as they are spelled.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Document => &[
                "schemaVersion",
                "mediaType",
                "config",
                "layers",
                "blobs",
                "manifests",
                "subject",
                "artifactType",
                "annotations",
                "fsLayers",
            ],
            Self::Descriptors => &[],
            Self::Descriptor => &[
                "mediaType",
                "digest",
                "size",
                "urls",
                "annotations",
                "platform",
                "artifactType",
            ],
            Self::Platform => &["os", "architecture", "variant", "os.version"],
        }
    }

    /// What stands under a field, where its own fields decide something too.
    fn below(self, field: &str) -> Option<Self> {
        match (self, field) {
            (Self::Document, "manifests" | "layers" | "blobs") => Some(Self::Descriptors),
            (Self::Document, "config" | "subject") => Some(Self::Descriptor),
            (Self::Descriptor, "platform") => Some(Self::Platform),
            (Self::Document | Self::Descriptors | Self::Descriptor | Self::Platform, _) => None,
        }
    }
}

/// A name as readers that fold case compare it: Go's `encoding/json` takes `Digest` and `dige\u{17f}t`
/// for `digest`, and the last of them counts.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // To upper case first: the long s has no other lower case than itself.
    name.to_uppercase().to_lowercase()
}

/// A field's name; a copy only where it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Refuses a document of which readers would see different fields: one that names a field twice, or a
/// field that decides something in another case. What is under annotations is nobody's field.
struct Spelled(Part);

impl<'de> DeserializeSeed<'de> for Spelled {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0 {
            Part::Document => deserializer.deserialize_map(self),
            Part::Descriptors | Part::Descriptor | Part::Platform => {
                deserializer.deserialize_any(self)
            }
        }
    }
}

impl<'de> Visitor<'de> for Spelled {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    // What has no fields is read, or refused, by whoever reads the value.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Self(Part::Descriptor))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(Name(key)) = map.next_key::<Name<'de>>()? {
            let refused = |what: &str| {
                Err(serde::de::Error::custom(format_args!(
                    "the field `{key}` {what}"
                )))
            };
            match self.0.below(&key) {
                Some(part) => map.next_value_seed(Self(part))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            let fold = folded(&key);
            // These are ASCII, so that nothing else folds to them.
            let mut known = self.0.fields().iter();
            if known.any(|field| **field != key && fold.eq_ignore_ascii_case(field)) {
                return refused("is spelled in another case");
            }
            if !seen.insert(fold) {
                return refused("stands there twice");
            }
            if seen.len() > OBJECT_FIELDS_MAX {
                return refused(&format!(
                    "is one of more than {OBJECT_FIELDS_MAX} in one object"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
