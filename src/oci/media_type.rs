//! Media types of manifests and what hangs on them.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// A media type; those that decide how bytes are read are named, the rest survives as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.distribution.manifest.v1+json`, signed or not; never copied.
    DockerSchema1,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// Any other one, as it was written.
    Other(Arc<str>),
}

impl MediaType {
    /// What a request for a manifest accepts: the known kinds first, then anything, so that
    /// artifacts of unknown types are served too.
    pub const ACCEPT: &'static str = "application/vnd.oci.image.index.v1+json, \
        application/vnd.oci.image.manifest.v1+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, \
        application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

    /// Reads a media type; parameters (`; charset=utf-8`) are dropped, for they do not name a kind.
    pub fn parse(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence {
            "application/vnd.oci.image.index.v1+json" => Self::OciIndex,
            "application/vnd.oci.image.manifest.v1+json" => Self::OciManifest,
            "application/vnd.docker.distribution.manifest.list.v2+json" => Self::DockerList,
            "application/vnd.docker.distribution.manifest.v2+json" => Self::DockerManifest,
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Self::DockerSchema1,
            "application/vnd.oci.image.config.v1+json" => Self::OciConfig,
            "application/vnd.docker.container.image.v1+json" => Self::DockerConfig,
            other => Self::Other(Arc::from(other)),
        }
    }

    /// The text that stands in documents and headers.
    pub fn as_str(&self) -> &str {
        match self {
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerSchema1 => "application/vnd.docker.distribution.manifest.v1+json",
            Self::OciConfig => "application/vnd.oci.image.config.v1+json",
            Self::DockerConfig => "application/vnd.docker.container.image.v1+json",
            Self::Other(text) => text,
        }
    }

    /// Whether it names a list of manifests.
    pub const fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Whether it names a single image manifest that is copied as it is.
    pub const fn is_image(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether a config of this type states the platform of its image.
    pub const fn is_image_config(&self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }

    /// Whether a layer of this type may be left where its `urls` point (Docker's foreign layers,
    /// OCI's non-distributable ones).
    pub fn is_foreign_layer(&self) -> bool {
        let text = self.as_str();
        text.starts_with("application/vnd.docker.image.rootfs.foreign.diff.")
            || text.starts_with("application/vnd.oci.image.layer.nondistributable.")
    }

    /// Whether it says nothing about the kind of a manifest, as servers without knowledge send it.
    pub fn is_generic(&self) -> bool {
        matches!(
            self.as_str(),
            "" | "application/json" | "application/octet-stream" | "text/plain"
        )
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_do_not_change_the_kind() {
        assert_eq!(
            MediaType::parse("application/vnd.oci.image.index.v1+json; charset=utf-8"),
            MediaType::OciIndex
        );
    }

    #[test]
    fn unknown_types_survive_as_written() {
        let odd = "application/vnd.Example+JSON";
        assert_eq!(MediaType::parse(odd).as_str(), odd);
    }

    #[test]
    fn known_types_print_what_they_parse() {
        for accepted in MediaType::ACCEPT.split(',') {
            let text = accepted.split(';').next().unwrap_or_default().trim();
            assert_eq!(MediaType::parse(text).as_str(), text);
        }
    }
}
