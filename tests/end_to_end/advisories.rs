//! What went wrong elsewhere, on the built program: the parts of the advisories of docs/RELIABILITY.md that no
//! other room shows.

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::faults::{descriptor, manifest_path, put_blob, put_manifest};
use crate::harness::trial;
use crate::program::{Ended, Workplace};
use crate::registry::{Contents, Image, Pushed, TestRegistry, when};
use crate::signatures::stand::{OURS, PASSPHRASE};
use crate::verify_trials::{SIGNATURE, SIMPLE_SIGNING};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("advisories::a_digest_that_is_a_path_goes_nowhere", paths),
        trial(
            "advisories::what_is_attached_without_measure_stays_in_bounds",
            without_measure,
        ),
        trial(
            "advisories::a_second_answer_of_other_bytes_is_not_taken",
            second_answer,
        ),
    ]
}

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What no run may take.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// An image at a source, a destination, and a place to run in.
struct Yard {
    source: TestRegistry,
    destination: TestRegistry,
    place: Workplace,
    image: Pushed,
}

impl Yard {
    async fn open() -> Self {
        let source = TestRegistry::start().await;
        let image = Image::new(&["a"]).push(&source, "app", Some("1")).await;
        Self {
            source,
            destination: TestRegistry::start().await,
            place: Workplace::new(),
            image,
        }
    }

    /// The tag of the image's signature.
    fn tag(&self) -> String {
        format!("sha256-{}.sig", self.image.digest.hex())
    }

    /// Puts a signature manifest with these layers there.
    async fn sign_with(&self, layers: &[Value]) {
        put_blob(&self.source, "app", "{}").await;
        let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
        let document =
            json!({ "schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers });
        put_manifest(&self.source, Some(&self.tag()), OCI, document.to_string()).await;
    }

    /// Mirrors the image in bounds.
    async fn mirror(&self, more: &str) -> Ended {
        self.place
            .write("list.txt", format!("{}/app:1\n", self.source.host()));
        let to = self.destination.host();
        self.bounded(&format!(
            "mirror -f list.txt -d {to} --report report.json {more}"
        ))
        .await
    }

    /// Validates it in bounds.
    async fn validate(&self) -> Ended {
        let name = format!("{}/app:1", self.source.host());
        let key = OURS.public();
        self.bounded(&format!("validate {name} --key {key} --report report.json"))
            .await
    }

    async fn bounded(&self, arguments: &str) -> Ended {
        let (ended, peak) = self.place.start(arguments).end_and_peak().await;
        assert!(peak > 0 && peak < MEMORY_MAX, "{peak} bytes: {ended}");
        ended
    }

    fn outcome(&self) -> Value {
        self.place.json("report.json")["lines"][0]["outcome"].clone()
    }

    #[track_caller]
    fn nothing_came(&self) {
        assert_eq!(self.destination.tag("app", "1"), None);
    }
}

/// Digests that are paths, empty, in upper case, too short or long, or of an algorithm that nobody knows.
fn bad_digests() -> Vec<String> {
    let hex = "0".repeat(64);
    vec![
        "sha256:../../../etc/passwd".to_owned(),
        "../../token".to_owned(),
        "sha256:%2e%2e%2f".to_owned(),
        "sha256:".to_owned(),
        String::new(),
        format!("sha256:{}", "A".repeat(64)),
        format!("SHA256:{hex}"),
        format!("sha256:{hex}0"),
        format!("sha256:{hex}/../../x"),
        format!("md5:{}", "0".repeat(32)),
    ]
}

/// CVE-2024-3727: in lists, on the command line, in manifests, in lists of referrers and of tags, and in
/// signatures. In indexes and headers it is `attacker::digests_that_are_paths_are_asked_of_nobody`.
async fn paths() {
    let yard = Yard::open().await;
    let (from, to) = (yard.source.host(), yard.destination.host());
    for digest in bad_digests() {
        for line in [
            format!("{from}/app@{digest}"),
            format!("{from}/app:1@{digest}"),
            format!("{from}/app@{digest} {to}/app 1"),
        ] {
            yard.place.write("list.txt", format!("# one\n{line}\n"));
            let ended = yard.place.run(&format!("mirror -f list.txt -d {to}")).await;
            ended.with(2).saying(&["list.txt:2"]);
        }
        let copy = format!("copy {from}/app@{digest} {to}/app:1");
        yard.place.run(&copy).await.with(2);
    }
    assert!(yard.source.log().is_empty() && yard.destination.log().is_empty());
    for digest in bad_digests() {
        in_documents(&digest).await;
    }
}

/// A digest that is none, wherever a registry may say one.
async fn in_documents(digest: &str) {
    let bad = |kind: &str| json!({ "mediaType": kind, "digest": digest, "size": 2 });
    let yard = Yard::open().await;
    for field in ["config", "layers", "subject"] {
        let mut document = yard.image.json();
        document[field] = match field {
            "layers" => json!([bad("a/b")]),
            _ => bad(OCI),
        };
        put_manifest(&yard.source, Some("1"), OCI, document.to_string()).await;
        yard.mirror("").await.with(1);
        yard.nothing_came();
    }
    let yard = Yard::open().await;
    let list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [bad(OCI)] });
    let listed = when("GET", "*/referrers/*").respond(200);
    let listed = listed
        .header("content-type", OCI_INDEX)
        .body(list.to_string());
    yard.source.rule(listed);
    yard.mirror("").await.with(1);
    yard.nothing_came();
    yard.validate().await.with(4);
    assert_eq!(yard.outcome(), "undetermined");
    yard.source.clear_rules();
    // A signature at a place that is none, and one that names a place that is none.
    let mut layer = bad(SIMPLE_SIGNING);
    layer["annotations"] = json!({ SIGNATURE: "AAAA" });
    yard.sign_with(&[layer]).await;
    yard.mirror("").await.with(1);
    yard.nothing_came();
    let ended = yard.validate().await;
    assert_ne!(ended.code(), Some(0), "{ended}");
    let payload = json!({ "critical": { "identity": { "docker-reference": "x" }, "type":
        "cosign container image signature", "image": { "docker-manifest-digest": digest } } });
    let payload = payload.to_string();
    put_blob(&yard.source, "app", payload.clone()).await;
    let mut layer = descriptor(SIMPLE_SIGNING, payload.as_bytes());
    layer["annotations"] = json!({ SIGNATURE: "AAAA" });
    yard.sign_with(&[layer]).await;
    yard.validate().await.with(3);
    // Tags that are none are nobody's.
    let tags = json!({ "name": "app", "tags": ["1", "../../x", "sha256-../x.sig", digest] });
    let listed = when("GET", "*/tags/list").respond(200);
    yard.source.rule(listed.body(tags.to_string()));
    yard.mirror("").await;
    for registry in [&yard.source, &yard.destination] {
        for line in registry.log() {
            let is_strange = line.path.contains("..") || line.path.contains('%');
            assert!(!is_strange, "{digest}: {line}");
        }
    }
}

/// CVE-2023-46737, CVE-2023-33957, CVE-2024-29902 and 29903: signatures without end, attachments of 8 GiB by what
/// is said and by what comes, and lists that never end.
async fn without_measure() {
    // Ten thousand layers of 8 GiB each.
    let yard = Yard::open().await;
    let layer = |n: u32, size: u64| {
        let mut layer = descriptor(SIMPLE_SIGNING, &n.to_be_bytes());
        layer["size"] = json!(size);
        layer["annotations"] = json!({ SIGNATURE: "AAAA" });
        layer
    };
    let layers: Vec<Value> = (0..10_000).map(|n| layer(n, 8 << 30)).collect();
    yard.sign_with(&layers).await;
    yard.validate().await.with(4).saying(&["10000 signatures"]);
    assert_eq!(
        yard.source.count("GET", "*/blobs/*"),
        1,
        "{}",
        yard.source.log_text()
    );
    // One, that says that it is small, and does not end.
    let yard = Yard::open().await;
    let payload = put_blob(&yard.source, "app", "small").await;
    let mut layer = descriptor(SIMPLE_SIGNING, b"small");
    layer["annotations"] = json!({ SIGNATURE: "AAAA" });
    yard.sign_with(&[layer]).await;
    let path = format!("/v2/app/blobs/{payload}");
    let endless = when("GET", &path).respond(200);
    yard.source.rule(endless.body(vec![b'x'; 100 << 20]));
    yard.validate().await.with(4);
    assert_eq!(yard.outcome(), "undetermined");
    yard.mirror("").await.with(1);
    yard.nothing_came();
    assert!(
        yard.source.count("GET", &path) <= 2,
        "{}",
        yard.source.log_text()
    );
    // A list of referrers of which every page names the next one.
    let yard = Yard::open().await;
    let next = format!(
        "</v2/app/referrers/{}?page=next>; rel=\"next\"",
        yard.image.digest
    );
    let entries: Vec<Value> = (0..5000_u32)
        .map(|n| descriptor(OCI, &n.to_be_bytes()))
        .collect();
    let page = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let endless = when("GET", "*/referrers/*")
        .respond(200)
        .header("link", &next);
    let endless = endless.header("content-type", OCI_INDEX);
    let endless = yard.source.rule(endless.body(page.to_string()));
    yard.validate().await.with(4);
    assert_eq!(yard.outcome(), "undetermined");
    yard.mirror("").await.with(1);
    yard.nothing_came();
    assert!(endless.hits() <= 10, "{}", yard.source.log_text());
}

/// CVE-2023-33959, CVE-2024-23332: the registry shows the signed image to whoever judges, and another one to
/// whoever copies.
async fn second_answer() {
    let yard = Yard::open().await;
    let name = format!("{}/app:1", yard.source.host());
    yard.place.write("passphrase", PASSPHRASE);
    let key = OURS.private();
    let sign = format!("sign {name} --key {key} --passphrase-file passphrase");
    yard.place.run(&sign).await.with(0);
    let other = Image::new(&["other"]).push(&yard.source, "app", None).await;
    let verify = format!("--verify-key {}", OURS.public());
    for first in [1, 2] {
        yard.source.clear_rules();
        yard.source.clear_log();
        // By its tag once, then by its digest.
        let by_digest = when("GET", &manifest_path(yard.image.digest)).from(first);
        yard.source
            .rule(by_digest.replace_body(other.bytes.clone()));
        let by_tag = when("GET", &manifest_path("1")).from(2);
        yard.source.rule(by_tag.replace_body(other.bytes.clone()));
        let ended = yard.mirror(&verify).await;
        let there = Contents::of(&yard.destination, "app").await;
        assert!(!there.manifests.contains_key(&other.digest), "{there:?}");
        if first == 1 {
            let both = [yard.image.digest, other.digest].map(|digest: Digest| digest.to_string());
            ended.with(1).saying(&[&both[0], &both[1]]);
            assert!(there.tags.is_empty(), "{there:?}");
        } else {
            // It is asked for by its digest once, and that answer was good.
            ended.with(0);
            assert_eq!(yard.destination.tag("app", "1"), Some(yard.image.digest));
        }
    }
}
