//! Images with everything attached to them, at registries of both kinds.

use bytes::Bytes;
use consign::event::{Note, Outcome};
use consign::oci::Digest;
use consign::transfer::{Closure, Options, Prune};
use serde_json::{Value, json};

use crate::faults::{Road, descriptor, put_blob, put_manifest};
use crate::registry::{
    Contents, Image, Pushed, Referrers, Settings, TestRegistry, artifact, attestation, index,
};

/// The media types of manifests.
pub(super) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of a signed payload.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature over it.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// cosign's OCI 1.1 mode.
pub(super) const REFERRER_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// A bundle.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// A config that says nothing.
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Whether a registry has the referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Has,
    Lacks,
}

/// Source and destination, all four.
pub(super) const SIDES: [(Api, Api); 4] = [
    (Api::Has, Api::Has),
    (Api::Has, Api::Lacks),
    (Api::Lacks, Api::Has),
    (Api::Lacks, Api::Lacks),
];

/// A road between two registries of the given kinds.
pub(super) struct Stage {
    pub(super) road: Road,
    pub(super) from: Api,
    pub(super) to: Api,
}

/// An index of two images, one with an attestation manifest, and what is attached to all of it.
pub(super) struct Whole {
    pub(super) all: Pushed,
    pub(super) amd: Pushed,
    pub(super) arm: Pushed,
    pub(super) attested: Pushed,
    /// A referrer of the index.
    pub(super) sbom: Pushed,
    /// A referrer of that referrer.
    pub(super) seal: Pushed,
    /// A referrer of one image.
    pub(super) note: Pushed,
}

pub(super) fn with(closure: Closure) -> Options {
    Options {
        closure,
        ..Options::default()
    }
}

pub(super) fn without_signatures(prune: Prune) -> Options {
    Options {
        prune,
        ..with(Closure::WithoutSignatures)
    }
}

impl Stage {
    pub(super) async fn between((from, to): (Api, Api)) -> Self {
        let settings = |api| Settings {
            referrers: match api {
                Api::Has => Referrers::Listed,
                Api::Lacks => Referrers::Unknown,
            },
            ..Settings::default()
        };
        let road = Road::between(settings(from), settings(to)).await;
        Self { road, from, to }
    }

    pub(super) fn source(&self) -> (&TestRegistry, Api) {
        (&self.road.source, self.from)
    }

    pub(super) fn destination(&self) -> (&TestRegistry, Api) {
        (&self.road.destination, self.to)
    }

    /// Puts an image with everything under `app:1` at the source.
    pub(super) async fn whole(&self) -> Whole {
        let place = self.source();
        let source = place.0;
        let amd = Image::new(&["amd"]).push(source, "app", None).await;
        let arm = Image::new(&["arm"])
            .on("linux/arm64")
            .push(source, "app", None)
            .await;
        let attested = attestation(source, "app", &amd).await;
        let all = index(source, "app", Some("1"), &[&amd, &arm, &attested]).await;
        put_tag(source, all.digest, "sig", &[("one", "s1"), ("two", "s2")]).await;
        put_tag(source, amd.digest, "sig", &[("amd", "s3")]).await;
        put_tag(source, attested.digest, "sig", &[("attested", "s4")]).await;
        put_tag(source, all.digest, "att", &[("statement", "")]).await;
        put_tag(source, arm.digest, "sbom", &[("bill", "")]).await;
        let sbom = refer(place, &all, "application/spdx+json", "sbom of all").await;
        let seal = refer(place, &sbom, "application/x.seal", "seal of the sbom").await;
        let note = refer(place, &amd, "application/x.note", "note on amd").await;
        Whole {
            all,
            amd,
            arm,
            attested,
            sbom,
            seal,
            note,
        }
    }

    pub(super) async fn copy(&self, options: &Options) -> Outcome {
        let copied = self.road.copy_with("app:1", "app:1", options).await;
        match copied {
            Ok(outcome) => outcome,
            Err(error) => panic!("{:?}\n{}", error.failure(), self.road.logs()),
        }
    }

    /// Copies, and something must have been written.
    #[track_caller]
    pub(super) fn wrote(&self, outcome: &Outcome) {
        let logs = || self.road.logs();
        assert!(
            matches!(outcome, Outcome::Copied(_)),
            "{outcome:?}\n{}",
            logs()
        );
    }

    /// Nothing was written at the destination since the log began anew.
    #[track_caller]
    pub(super) fn wrote_nothing(&self, outcome: &Outcome) {
        let logs = || self.road.logs();
        assert!(
            matches!(outcome, Outcome::UpToDate(_)),
            "{outcome:?}\n{}",
            logs()
        );
        assert_eq!(self.road.destination.writes().len(), 0, "{}", logs());
    }

    /// Both sides have the same, apart from the lists of referrers that only one kind of registry needs.
    pub(super) async fn is_same(&self) {
        let source = without_lists(Contents::of(&self.road.source, "app").await);
        let destination = without_lists(Contents::of(&self.road.destination, "app").await);
        assert_eq!(source, destination, "{}", self.road.logs());
    }

    /// What is listed as referrers of `subject` at a side, in order.
    pub(super) async fn listed(
        (registry, api): (&TestRegistry, Api),
        subject: Digest,
    ) -> Vec<Digest> {
        let digest = |entry: &Value| entry["digest"].as_str().unwrap().parse().unwrap();
        let entries = match api {
            Api::Has => {
                let url = format!("{}/v2/app/referrers/{subject}", registry.url());
                let document = get(&url).await;
                document["manifests"].as_array().unwrap().clone()
            }
            Api::Lacks => fallback(registry, subject).await,
        };
        entries.iter().map(digest).collect()
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes = self.road.take_notes();
        notes.retain(|note| !matches!(note, Note::Entered(_) | Note::Resolved(_)));
        notes
    }
}

/// A document over plain HTTP.
pub(super) async fn get(url: &str) -> Value {
    let address = url.strip_prefix("http://").expect("plain");
    let (host, path) = address.split_once('/').expect("a path");
    let mut stream = tokio::net::TcpStream::connect(host)
        .await
        .expect("it listens");
    let request = format!("GET /{path} HTTP/1.0\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// The tag of a kind (`sig`, or nothing for the list of referrers) for `subject`.
pub(super) fn tag_of(subject: Digest, kind: &str) -> String {
    let base = subject.to_string().replace(':', "-");
    if kind.is_empty() {
        base
    } else {
        format!("{base}.{kind}")
    }
}

/// The contents without fallback tags and what they name.
fn without_lists(mut contents: Contents) -> Contents {
    let is_list = |tag: &str| tag.starts_with("sha256-") && !tag.contains('.');
    let lists: Vec<String> = contents
        .tags
        .keys()
        .filter(|tag| is_list(tag))
        .cloned()
        .collect();
    for tag in lists {
        contents.tags.remove(&tag);
    }
    let named: Vec<Digest> = contents.tags.values().copied().collect();
    contents
        .manifests
        .retain(|digest, (media_type, _)| !media_type.is_index() || named.contains(digest));
    contents.blobs.retain(|_, bytes| !bytes.is_empty());
    contents
}

/// The entries of the fallback tag.
pub(super) async fn fallback(registry: &TestRegistry, subject: Digest) -> Vec<Value> {
    match tagged(registry, subject, "").await {
        Some(list) => list["manifests"].as_array().unwrap().clone(),
        None => Vec::new(),
    }
}

/// What stands under a tag of `subject`.
pub(super) async fn tagged(registry: &TestRegistry, subject: Digest, kind: &str) -> Option<Value> {
    let contents = Contents::of(registry, "app").await;
    let digest = contents.tags.get(&tag_of(subject, kind))?;
    let (_, bytes) = &contents.manifests[digest];
    Some(serde_json::from_slice(bytes).unwrap())
}

/// The signatures under the tag of `subject`, as they are written there.
pub(super) async fn signatures(registry: &TestRegistry, subject: Digest) -> Vec<String> {
    let manifest = tagged(registry, subject, "sig").await;
    let layers = manifest.map(|manifest| manifest["layers"].as_array().unwrap().clone());
    let signature = |layer: &Value| layer["annotations"][SIGNATURE].as_str().unwrap().to_owned();
    layers.unwrap_or_default().iter().map(signature).collect()
}

/// Puts a manifest of these payloads, each with its signature, under a tag of `subject`.
pub(super) async fn put_tag(
    registry: &TestRegistry,
    subject: Digest,
    kind: &str,
    layers: &[(&str, &str)],
) -> Digest {
    let media_type = match kind {
        "sig" => SIMPLE_SIGNING,
        "att" => "application/vnd.dsse.envelope.v1+json",
        _ => "text/spdx",
    };
    let mut entries = Vec::new();
    for (payload, signature) in layers {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let mut entry = descriptor(media_type, &payload);
        entry["annotations"] = json!({ SIGNATURE: signature, "odd": "1.0" });
        put_blob(registry, "app", payload).await;
        entries.push(entry);
    }
    let config = json!({ "config": {}, "of": layers }).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": entries,
        "odd": [1, 2],
    });
    put_blob(registry, "app", config).await;
    let tag = tag_of(subject, kind);
    put_manifest(registry, Some(&tag), OCI, manifest.to_string()).await
}

/// Attaches an artifact to `subject`, listed as its registry lists.
pub(super) async fn refer(
    (registry, api): (&TestRegistry, Api),
    subject: &Pushed,
    artifact_type: &str,
    payload: &str,
) -> Pushed {
    let pushed = artifact(registry, "app", artifact_type, Some(subject), payload).await;
    if api == Api::Lacks {
        list(registry, subject.digest, entry_of(&pushed)).await;
    }
    pushed
}

/// An entry as go-containerregistry writes it: with the type of the config.
pub(super) fn entry_of(pushed: &Pushed) -> Value {
    let mut entry = pushed.descriptor();
    entry["artifactType"] = EMPTY.into();
    entry
}

/// Adds an entry to a fallback tag.
pub(super) async fn list(registry: &TestRegistry, subject: Digest, entry: Value) {
    let mut entries = fallback(registry, subject).await;
    entries.push(entry);
    let list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let tag = tag_of(subject, "");
    put_manifest(registry, Some(&tag), OCI_INDEX, list.to_string()).await;
}

/// A referrer of `subject` with any manifest around one blob.
pub(super) async fn refer_with(
    (registry, api): (&TestRegistry, Api),
    subject: &Pushed,
    (config_type, layer_type): (&str, &str),
    payload: impl Into<Bytes>,
    fields: Value,
) -> Digest {
    let payload: Bytes = payload.into();
    let empty = b"{}";
    let layer = match fields.get("signature") {
        Some(signature) => {
            let mut layer = descriptor(layer_type, &payload);
            layer["annotations"] = json!({ SIGNATURE: signature });
            layer
        }
        None => descriptor(layer_type, &payload),
    };
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor(config_type, empty),
        "layers": [layer],
        "subject": descriptor(subject.media_type.as_str(), &subject.bytes),
    });
    for field in ["artifactType", "annotations"] {
        if let Some(value) = fields.get(field) {
            manifest[field] = value.clone();
        }
    }
    put_blob(registry, "app", Bytes::from_static(empty)).await;
    put_blob(registry, "app", payload).await;
    let bytes = manifest.to_string();
    let entry = descriptor(OCI, bytes.as_bytes());
    let digest = put_manifest(registry, None, OCI, bytes).await;
    if api == Api::Lacks {
        list(registry, subject.digest, entry).await;
    }
    digest
}
