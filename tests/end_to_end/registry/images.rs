//! Images for tests, put straight into a registry.

use bytes::Bytes;
use consign::oci::{Digest, MediaType};
use serde_json::{Value, json};

use super::{TestRegistry, path};

/// A manifest that was put into a registry.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    /// Its digest.
    pub(crate) digest: Digest,
    /// Its media type.
    pub(crate) media_type: MediaType,
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// The digests of config and layers, in their order; nothing for an index.
    pub(crate) blobs: Vec<Digest>,
    /// What an index says of it besides the usual three: platform, annotations.
    extra: Value,
}

impl Pushed {
    /// A manifest that was put there by other means.
    pub(crate) fn of(media_type: MediaType, bytes: Bytes) -> Self {
        Self {
            digest: Digest::sha256(&bytes),
            media_type,
            bytes,
            blobs: Vec::new(),
            extra: json!({}),
        }
    }

    /// Its descriptor, as an index carries it.
    pub(crate) fn descriptor(&self) -> Value {
        let mut descriptor = descriptor(self.media_type.as_str(), &self.bytes);
        let fields = descriptor.as_object_mut().expect("an object");
        fields.extend(self.extra.as_object().cloned().unwrap_or_default());
        descriptor
    }

    /// The manifest as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a manifest is JSON")
    }
}

/// In which words a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Oci,
    Docker,
}

/// An image of one platform, to be pushed.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    layers: Vec<Bytes>,
    diff_ids: Vec<Digest>,
    platform: String,
    words: Words,
    foreign: Option<String>,
    fields: Value,
}

impl Image {
    /// A linux/amd64 image in OCI's words. Each layer is a small compressed tar with one file of
    /// that text, so that layers of the same text are the same blob.
    pub(crate) fn new(layers: &[&str]) -> Self {
        let tars: Vec<Bytes> = layers
            .iter()
            .map(|text| tar("file", text.as_bytes()))
            .collect();
        let diff_ids = tars.iter().map(|tar| Digest::sha256(tar)).collect();
        Self {
            diff_ids,
            ..Self::of_blobs(tars.iter().map(|tar| gzip(tar)))
        }
    }

    /// The same of layers whose bytes are whatever they are.
    pub(crate) fn of_blobs(layers: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        let layers: Vec<Bytes> = layers.into_iter().map(Into::into).collect();
        Self {
            diff_ids: layers.iter().map(|layer| Digest::sha256(layer)).collect(),
            layers,
            platform: "linux/amd64".to_owned(),
            words: Words::Oci,
            foreign: None,
            fields: json!({}),
        }
    }

    /// Of another platform: `os/architecture[/variant]`.
    pub(crate) fn on(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// In the words of Docker schema 2.
    pub(crate) fn docker(mut self) -> Self {
        self.words = Words::Docker;
        self
    }

    /// With one more layer that is only found at `url`, and not pushed.
    pub(crate) fn foreign_layer(mut self, url: &str) -> Self {
        self.foreign = Some(url.to_owned());
        self
    }

    /// With another field in the manifest, known or not.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.fields[name] = value;
        self
    }

    /// Puts the image into a repository of the registry, under a tag or without one.
    pub(crate) async fn push(
        self,
        registry: &TestRegistry,
        repository: &str,
        tag: Option<&str>,
    ) -> Pushed {
        let (manifest_type, config_type, layer_type) = match self.words {
            Words::Oci => (
                MediaType::OciManifest,
                MediaType::OciConfig,
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
            Words::Docker => (
                MediaType::DockerManifest,
                MediaType::DockerConfig,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        };
        let platform = platform(&self.platform);
        let mut config = platform.clone();
        config["config"] = json!({ "Cmd": ["/file"] });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": self.diff_ids });
        let config = Bytes::from(config.to_string());
        let mut layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor(layer_type, layer))
            .collect();
        if let Some(url) = &self.foreign {
            let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            let mut layer = descriptor(kind, url.as_bytes());
            layer["urls"] = json!([url]);
            layers.push(layer);
        }
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": descriptor(config_type.as_str(), &config),
            "layers": layers,
        });
        let fields = manifest.as_object_mut().expect("an object");
        fields.extend(self.fields.as_object().cloned().unwrap_or_default());
        let mut blobs = Vec::new();
        for bytes in std::iter::once(config).chain(self.layers) {
            blobs.push(blob(registry, repository, bytes).await);
        }
        let extra = json!({ "platform": platform });
        let pushed = manifest_of(registry, (repository, tag), &manifest_type, &manifest);
        Pushed {
            blobs,
            extra,
            ..pushed.await
        }
    }
}

/// Puts an OCI index of these manifests into a repository.
pub(crate) async fn index(
    registry: &TestRegistry,
    repository: &str,
    tag: Option<&str>,
    manifests: &[&Pushed],
) -> Pushed {
    list(registry, (repository, tag), &MediaType::OciIndex, manifests).await
}

/// Puts a Docker manifest list of these manifests into a repository.
pub(crate) async fn manifest_list(
    registry: &TestRegistry,
    repository: &str,
    tag: Option<&str>,
    manifests: &[&Pushed],
) -> Pushed {
    list(
        registry,
        (repository, tag),
        &MediaType::DockerList,
        manifests,
    )
    .await
}

async fn list(
    registry: &TestRegistry,
    place: (&str, Option<&str>),
    media_type: &MediaType,
    manifests: &[&Pushed],
) -> Pushed {
    let manifests: Vec<Value> = manifests.iter().map(|child| child.descriptor()).collect();
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": manifests,
    });
    manifest_of(registry, place, media_type, &document).await
}

/// Puts an attestation manifest of `subject` into a repository, as `BuildKit` writes it: to stand in
/// the same index as its subject.
pub(crate) async fn attestation(
    registry: &TestRegistry,
    repository: &str,
    subject: &Pushed,
) -> Pushed {
    let statement = json!({ "subject": [{ "digest": subject.digest }] }).to_string();
    let pushed = Image::of_blobs([statement])
        .on("unknown/unknown")
        .push(registry, repository, None)
        .await;
    let extra = json!({
        "platform": platform("unknown/unknown"),
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject.digest,
        },
    });
    Pushed { extra, ..pushed }
}

/// Puts an artifact of one blob into a repository; with a subject it is that one's referrer.
pub(crate) async fn artifact(
    registry: &TestRegistry,
    repository: &str,
    artifact_type: &str,
    subject: Option<&Pushed>,
    payload: &str,
) -> Pushed {
    let empty = Bytes::from_static(b"{}");
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty),
        "layers": [descriptor("application/octet-stream", &payload)],
    });
    if let Some(subject) = subject {
        manifest["subject"] = descriptor(subject.media_type.as_str(), &subject.bytes);
    }
    let blobs = vec![
        blob(registry, repository, empty).await,
        blob(registry, repository, payload).await,
    ];
    let place = (repository, None);
    let pushed = manifest_of(registry, place, &MediaType::OciManifest, &manifest).await;
    Pushed { blobs, ..pushed }
}

/// Puts a Docker schema 1 document under a tag.
pub(crate) async fn schema1(registry: &TestRegistry, repository: &str, tag: &str) -> Pushed {
    let layer = gzip(&tar("file", b"old"));
    let document = json!({
        "schemaVersion": 1,
        "name": repository,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{ "blobSum": Digest::sha256(&layer) }],
        "history": [{ "v1Compatibility": "{\"id\":\"1\"}" }],
        "signatures": [],
    });
    blob(registry, repository, layer).await;
    let place = (repository, Some(tag));
    manifest_of(registry, place, &MediaType::DockerSchema1, &document).await
}

async fn blob(registry: &TestRegistry, repository: &str, bytes: Bytes) -> Digest {
    let digest = registry.inner().add_blob(&path(repository), bytes).await;
    digest.expect("memory takes it")
}

async fn manifest_of(
    registry: &TestRegistry,
    (repository, tag): (&str, Option<&str>),
    media_type: &MediaType,
    document: &Value,
) -> Pushed {
    let bytes = Bytes::from(document.to_string());
    let tag = tag.map(|tag| tag.parse().expect("a tag"));
    let digest = registry
        .inner()
        .add_manifest(&path(repository), tag.as_ref(), media_type, bytes.clone())
        .await
        .expect("memory takes it");
    Pushed {
        digest,
        media_type: media_type.clone(),
        bytes,
        blobs: Vec::new(),
        extra: json!({}),
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() })
}

fn platform(text: &str) -> Value {
    let mut parts = text.split('/');
    let mut next = || parts.next().map(str::to_owned);
    let mut platform = json!({ "os": next(), "architecture": next() });
    if let Some(variant) = next() {
        platform["variant"] = variant.into();
    }
    platform
}

/// A tar (POSIX ustar) of one file.
fn tar(name: &str, content: &[u8]) -> Bytes {
    const BLOCK: usize = 512;
    let mut header = vec![0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    // The checksum is made as if its own place were blank.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut file = header;
    file.extend_from_slice(content);
    file.resize(file.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    Bytes::from(file)
}

/// The same bytes as a gzip member (RFC 1952) that stores them as they are (RFC 1951, 3.2.4).
fn gzip(bytes: &[u8]) -> Bytes {
    let length = u16::try_from(bytes.len()).expect("a small layer");
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    // One block, the last one, not compressed.
    file.push(1);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&(!length).to_le_bytes());
    file.extend_from_slice(bytes);
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        })
    });
    file.extend_from_slice(&(!crc).to_le_bytes());
    file.extend_from_slice(&u32::from(length).to_le_bytes());
    Bytes::from(file)
}
