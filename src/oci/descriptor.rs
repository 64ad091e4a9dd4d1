//! Descriptors: what is known of some bytes before they are read.

use serde::Deserialize;
use serde::de;

use crate::limits::image::BLOB_BYTES_MAX;

use super::{Annotations, Digest, MediaType, Platform};

/// A descriptor as documents carry it (OCI image specification 1.1, descriptor.md).
///
/// A view for reading: unknown fields are not kept, so it is never written back into a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of what is described.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, at most [`BLOB_BYTES_MAX`].
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Other places to get it from; followed by nobody here (CVE-2020-15157).
    #[serde(default, deserialize_with = "or_empty")]
    pub urls: Vec<String>,
    /// Free annotations.
    #[serde(default, deserialize_with = "or_empty")]
    pub annotations: Annotations,
    /// The platform, in the entries of an index.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// The type of an artifact.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

fn size<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size > BLOB_BYTES_MAX {
        return Err(de::Error::custom(format_args!(
            "size {size} is beyond the limit of {BLOB_BYTES_MAX} bytes"
        )));
    }
    Ok(size)
}

/// Reads `null` as nothing: Go programs write it for empty lists and maps.
pub(super) fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: de::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Marks an attestation manifest in an index (`BuildKit`'s attestation storage).
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Names the manifest that an attestation manifest speaks of.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

impl Descriptor {
    /// The digest of the manifest that this attestation manifest belongs to, if it is one.
    pub fn attests(&self) -> Option<Digest> {
        if self.annotations.get(REFERENCE_TYPE)? != "attestation-manifest" {
            return None;
        }
        self.annotations.get(REFERENCE_DIGEST)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_size(size: &str) -> Result<Descriptor, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":{size},"urls":null}}"#,
            Digest::sha256(b"")
        ))
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(with_size("0").is_ok());
        for bad in ["9223372036854775807", "-1", "1.5", "\"1\"", "1e3", "null"] {
            assert!(with_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_attestation_names_its_subject() {
        let subject = Digest::sha256(b"subject");
        let mut descriptor = with_size("3").unwrap();
        assert_eq!(descriptor.attests(), None);
        let subject_text = subject.to_string();
        descriptor.annotations = Annotations::from_iter([
            (REFERENCE_TYPE, "attestation-manifest"),
            (REFERENCE_DIGEST, &*subject_text),
        ]);
        assert_eq!(descriptor.attests(), Some(subject));
    }
}
