//! Faults 22 to 27: what images are made of, and documents that nobody should have written.

use bytes::Bytes;
use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::named::{OCI, OCI_INDEX};
use super::stage::Stage;
use crate::faults::{descriptor, manifest_path, put_blob};
use crate::harness::trial;
use crate::registry::{Contents, Image, Pushed, Settings, Sparse, artifact, index, schema1, when};
use crate::signatures::stand::{OURS, PASSPHRASE};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_22_layers_that_repeat_or_are_empty_are_copied_once",
            repeated,
        ),
        trial(
            "endure::fault_23_nested_indexes_are_walked_and_sparse_ones_are_named",
            nested,
        ),
        trial(
            "endure::fault_24_circles_depths_and_crowds_meet_a_limit",
            bombs,
        ),
        trial(
            "endure::fault_25_odd_json_is_copied_bit_for_bit_or_refused",
            json_of_all_kinds,
        ),
        trial(
            "endure::fault_26_kinds_that_nobody_knows_are_copied_bit_for_bit",
            unknown_kinds,
        ),
        trial(
            "endure::fault_27_schema_1_is_refused_in_clear_words",
            schema_1,
        ),
    ]
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

async fn repeated() {
    let stage = Stage::plain().await;
    for (tag, layers) in [
        ("twice", vec!["a", "b", "a", "a"]),
        ("empty", vec!["", "a", ""]),
        ("none", vec![]),
        ("shared", vec!["b", "c"]),
    ] {
        let image = Image::of_blobs(layers);
        image.push(&stage.source, "app", Some(tag)).await;
    }
    // The config is a layer too, and there is nothing in it.
    let empty = put_blob(&stage.source, "app", "").await;
    let layers = [descriptor(LAYER, b""), descriptor(LAYER, b"")];
    let document =
        json!({ "schemaVersion": 2, "config": descriptor(CONFIG, b""), "layers": layers });
    stage.put("nothing", OCI, document.to_string()).await;
    let tags = ["twice", "empty", "none", "shared", "nothing"];
    let lines = tags.map(|tag| format!("app:{tag}"));
    stage.mirrored(&lines, "").await.with(0);
    stage.same("app").await;
    let there = Contents::of(&stage.destination, "app").await;
    assert!(there.blobs.contains_key(&empty));
    for digest in there.blob_digests() {
        let read = stage
            .source
            .count("GET", &format!("/v2/app/blobs/{digest}"));
        assert!(read <= 1, "{digest}: {}", stage.logs());
        let named = digest.to_string().replace(':', "%3A");
        let put = format!("/v2/app/blobs/uploads/*?*digest={named}*");
        assert_eq!(stage.destination.count("PUT", &put), 1, "{}", stage.logs());
    }
    // Nothing of it is written again.
    stage.clear();
    stage.mirrored(&lines, "").await.with(0);
    assert!(stage.destination.writes().is_empty(), "{}", stage.logs());
}

async fn nested() {
    let stage = Stage::plain().await;
    let source = &stage.source;
    let amd = Image::new(&["amd"]).push(source, "app", None).await;
    let arm = Image::new(&["arm"]).on("linux/arm64");
    let arm = arm.push(source, "app", None).await;
    let mut inner = index(source, "app", None, &[&amd]).await;
    inner = index(source, "app", None, &[&inner, &arm]).await;
    index(source, "app", Some("deep"), &[&inner, &arm]).await;
    let subject = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [arm.descriptor()],
        "subject": amd.descriptor() });
    stage.put("refers", OCI_INDEX, subject.to_string()).await;
    stage
        .mirrored(&["app:deep", "app:refers"], "")
        .await
        .with(0);
    stage.same("app").await;
    // What several name is read once.
    assert_eq!(stage.source.count("GET", &manifest_path(arm.digest)), 1);
    sparse((&amd, &arm)).await;
}

/// An index of which the source lacks a child.
async fn sparse((amd, arm): (&Pushed, &Pushed)) {
    let taken = Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    };
    for (destination, is_taken) in [(Settings::default(), false), (taken, true)] {
        let stage = Stage::between(Settings::default(), destination).await;
        Image::new(&["amd"]).push(&stage.source, "app", None).await;
        let whole = index(&stage.source, "other", None, &[amd, arm]).await;
        let root = stage.put("1", OCI_INDEX, whole.bytes).await;
        let ended = stage.mirrored(&["app:1"], "").await.with(1);
        ended.saying(&["app:1", &arm.digest.to_string()]);
        stage.failed(0, ("not-found", "source"), &[&arm.digest.to_string()]);
        assert_eq!(stage.destination.tag("app", "1"), None);
        // What is there of it can be had: as an index of its own, or as it is where that is taken.
        let only = "--arch amd64 --os linux";
        stage.mirrored(&["app:1"], only).await.with(0);
        assert_eq!(stage.line(0)["changed"], "selected");
        let flags = format!("{only} --index sparse --overwrite");
        let ended = stage.mirrored(&["app:1"], &flags).await;
        if is_taken {
            ended.with(0);
            assert_eq!(stage.destination.tag("app", "1"), Some(root));
        } else {
            ended.with(1).saying(&["sparse"]);
            assert_ne!(stage.destination.tag("app", "1"), Some(root));
        }
    }
}

/// An index whose entries are these, as text.
fn index_of(entries: &[Value]) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string()
}

async fn bombs() {
    let stage = Stage::plain().await;
    let source = &stage.source;
    let image = Image::new(&["a"]).push(source, "app", None).await;
    // Thirty levels, of which the first few are read.
    let mut rung = image.clone();
    for _ in 0..30 {
        rung = index(source, "app", Some("ladder"), &[&rung]).await;
    }
    // Levels of which each names the next one many times.
    let mut wide = image.descriptor();
    for _ in 0..4 {
        let document = index_of(&vec![wide; 4000]);
        wide = descriptor(OCI_INDEX, document.as_bytes());
        stage.put("wide", OCI_INDEX, document).await;
    }
    let numbered = |n: u32| descriptor(OCI, &n.to_be_bytes());
    let crowd: Vec<Value> = (0..20_000).map(numbered).collect();
    stage.put("crowd", OCI_INDEX, index_of(&crowd)).await;
    // A hundred thousand do not fit into a manifest at all.
    let more: Vec<Value> = (0..100_000).map(numbered).collect();
    let more = index_of(&more);
    let large = when("GET", &manifest_path("more")).respond(200);
    source.rule(large.header("content-type", OCI_INDEX).body(more));
    // No index can name itself, but a registry can say that one does.
    let own = index(source, "app", None, &[&image]).await;
    let own = index(source, "app", Some("circle"), &[&own]).await;
    let inner = own.json()["manifests"][0]["digest"].clone();
    let inner = inner.as_str().expect("a digest").to_owned();
    let circle = when("GET", &manifest_path(&inner));
    source.rule(circle.replace_body(own.bytes.clone()));
    let lines = ["ladder", "wide", "crowd", "more", "circle"].map(|tag| format!("app:{tag}"));
    let ended = stage.mirrored_in_bounds(&lines, "--jobs 1").await.with(1);
    ended.saying(&["levels of indexes", "10,000 manifests"]);
    stage.failed(0, ("unsupported", "source"), &["4 levels of indexes"]);
    stage.failed(1, ("unsupported", "source"), &["10,000 manifests"]);
    stage.failed(2, ("unsupported", "source"), &["10,000 manifests"]);
    stage.failed(3, ("refused", "source"), &["more than 4194304 bytes"]);
    stage.failed(
        4,
        ("integrity", "source"),
        &[&inner, &own.digest.to_string()],
    );
    assert!(stage.source.log().len() < 40, "{}", stage.logs());
    for tag in ["ladder", "wide", "crowd", "more", "circle"] {
        assert_eq!(stage.destination.tag("app", tag), None);
    }
    let there = Contents::of(&stage.destination, "app").await;
    assert!(there.tags.is_empty(), "{there:?}");
    attached_circle().await;
}

/// A list of referrers that names the same manifest for whatever is asked.
async fn attached_circle() {
    let stage = Stage::plain().await;
    let image = Image::new(&["a"])
        .push(&stage.source, "app", Some("1"))
        .await;
    let note = artifact(&stage.source, "app", "application/x", Some(&image), "note").await;
    let mut entry = note.descriptor();
    entry["artifactType"] = json!("application/x");
    let always = when("GET", "*/referrers/*").respond(200);
    let always = always.header("content-type", OCI_INDEX);
    stage.source.rule(always.body(index_of(&[entry])));
    stage.mirrored_in_bounds(&["app:1"], "").await.with(0);
    assert_eq!(stage.destination.tag("app", "1"), Some(image.digest));
    assert!(
        stage.source.count("GET", "*/referrers/*") <= 3,
        "{}",
        stage.logs()
    );
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Copied,
    Refused,
}

async fn json_of_all_kinds() {
    let stage = Stage::plain().await;
    put_blob(&stage.source, "app", "{}").await;
    put_blob(&stage.source, "app", "layer").await;
    let mut lines = Vec::new();
    let documents = documents();
    for (n, (fate, document)) in documents.iter().enumerate() {
        let tag = format!("{n}");
        let digest = stage.put(&tag, OCI, document.clone()).await;
        lines.push((format!("app:{tag}"), *fate, digest));
    }
    let names: Vec<&str> = lines.iter().map(|(name, ..)| name.as_str()).collect();
    stage.mirrored_in_bounds(&names, "--jobs 4").await.with(1);
    let there = Contents::of(&stage.destination, "app").await;
    for (n, (_, fate, digest)) in lines.iter().enumerate() {
        let shown: String = String::from_utf8_lossy(&documents[n].1)
            .chars()
            .take(300)
            .collect();
        match fate {
            Fate::Copied => {
                assert_eq!(
                    stage.line(n)["outcome"],
                    "copied",
                    "{:#}\n{shown}",
                    stage.line(n)
                );
                assert_eq!(there.manifests[digest].1, documents[n].1, "{shown}");
            }
            Fate::Refused => {
                let failure = stage.failure(n);
                let kind = &failure["kind"];
                assert!(
                    kind == "unsupported" || kind == "refused",
                    "{failure:#}\n{shown}"
                );
                assert!(!there.tags.contains_key(&n.to_string()), "{shown}");
                // Short, and fit for a terminal, whatever stands in the document.
                for cause in failure["causes"].as_array().expect("a list") {
                    let cause = cause.as_str().expect("a text");
                    let is_clean = cause.len() < 3000 && !cause.contains(char::is_control);
                    assert!(is_clean, "{cause:?}");
                }
            }
        }
    }
    too_large().await;
}

/// Documents, and what becomes of them.
fn documents() -> Vec<(Fate, Bytes)> {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let config = descriptor(CONFIG, b"{}");
    let layer = descriptor(LAYER, b"layer");
    let with = |more: &str| {
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}]{more}}}")
    };
    let field = |value: &str| with(&format!(",\"x\":{value}"));
    let sized = |size: &str| {
        let digest = Digest::sha256(b"layer");
        let layer =
            format!("{{\"mediaType\":\"{LAYER}\",\"digest\":\"{digest}\",\"size\":{size}}}");
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}]}}")
    };
    let copied = [
        with(""),
        // Deeper than any stack, where nobody looks.
        field(&deep("[", "]")),
        field(&deep("{\"a\":", "}").replacen('}', "1}", 1)),
        // Numbers that no machine has.
        field("1e400"),
        field("-123456789012345678901234567890.5E+99999"),
        // Text that is no Unicode when it is decoded, and characters that are none on paper.
        field("\"\\ud800\""),
        field("\"\\u0000\""),
        // Twice where it is nobody's field.
        field("{\"a\":1,\"a\":2}"),
        with("\n\r\t "),
        "\n\n ".to_owned() + &with(""),
        sized("5"),
    ];
    let refused = [
        deep("[", "]"),
        deep("{\"layers\":", "}"),
        with(",\"annotations\":") + &deep("[", ""),
        with(&format!(",\"subject\":{}", deep("[", "]"))),
        with(&format!(",\"manifests\":{}", deep("[", "]"))),
        // Twice where it decides something; the last counts for some, the first for others.
        with(&format!(",\"layers\":[{layer}]")),
        with(",\"config\":null"),
        with(",\"Layers\":[]"),
        with(",\"x\":1,\"x\":2"),
        "\u{feff}".to_owned() + &with(""),
        with("") + "\0",
        "\0".to_owned() + &with(""),
        with(",\"a\0b\":1"),
        with("") + "{}",
        sized("1e400"),
        sized("-5"),
        sized("5.0"),
        sized("18446744073709551616"),
        with(",\"mediaType\":1"),
    ];
    let mut all: Vec<(Fate, Bytes)> = Vec::new();
    all.extend(copied.map(|text| (Fate::Copied, text.into())));
    all.extend(refused.map(|text| (Fate::Refused, text.into())));
    let utf_16: Vec<u8> = with("").encode_utf16().flat_map(u16::to_le_bytes).collect();
    all.push((Fate::Refused, utf_16.into()));
    all.push((
        Fate::Refused,
        Bytes::from_static(b"{\"schemaVersion\":2,\"x\":\"\xff\xfe\"}"),
    ));
    all
}

/// More than 4 MiB: by its length, and without one.
async fn too_large() {
    for has_length in [true, false] {
        let stage = Stage::plain().await;
        let image = Image::new(&["a"])
            .push(&stage.source, "app", Some("1"))
            .await;
        let mut document = image.json();
        document["x"] = json!("x".repeat(5 << 20));
        let large = when("GET", "*/manifests/*").replace_body(document.to_string());
        stage.source.rule(large);
        if !has_length {
            stage
                .source
                .rule(when("GET", "*/manifests/*").drop_header("content-length"));
        }
        stage.mirrored_in_bounds(&["app:1"], "").await.with(1);
        stage.failed(0, ("refused", "source"), &["more than 4194304 bytes"]);
        assert_eq!(
            stage.source.count("GET", "*/manifests/*"),
            1,
            "{}",
            stage.logs()
        );
        assert!(stage.destination.writes().is_empty(), "{}", stage.logs());
    }
}

async fn unknown_kinds() {
    let stage = Stage::plain().await;
    let source = &stage.source;
    let image = Image::new(&["a"]).push(source, "app", Some("image")).await;
    for bytes in ["{}", "layer", "chart"] {
        put_blob(source, "app", bytes).await;
    }
    let empty = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let layer = descriptor("Application/Vnd.Example.Layer.V9+zstd; chunked=1", b"layer");
    // The bytes of a blob in its descriptor, and in another place than the blob.
    let mut inlined = empty.clone();
    inlined["data"] = json!("e30=");
    inlined["urls"] = json!(["https://elsewhere.example/{}"]);
    inlined["x.custom"] = json!({ "b": [1, 2.50], "a": null });
    let odd = "application/vnd.example.thing.v7+json";
    let old = "application/vnd.oci.artifact.manifest.v1+json";
    let documents = [
        (
            odd,
            json!({ "schemaVersion": 2, "mediaType": odd, "config": empty, "layers": [layer] }),
        ),
        (
            OCI,
            json!({ "schemaVersion": 2, "mediaType": OCI, "artifactType": "application/x",
            "config": inlined, "layers": [empty] }),
        ),
        (
            OCI,
            json!({ "schemaVersion": 2, "mediaType": OCI, "artifactType": "application/x",
            "config": empty, "layers": [] }),
        ),
        (
            OCI,
            json!({ "schemaVersion": 2, "mediaType": OCI, "config": empty, "layers": [layer],
            "annotations": { "org.example.a": "1", "": "" }, "x.custom": { "z": 1, "a": [null] } }),
        ),
        (
            OCI,
            json!({ "schemaVersion": 2, "config":
            descriptor("application/vnd.cncf.helm.config.v1+json", b"{}"), "layers":
            [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart")] }),
        ),
        // Neither config nor layers, but blobs.
        (
            old,
            json!({ "mediaType": old, "artifactType": "application/x", "blobs": [layer],
            "subject": image.descriptor() }),
        ),
        (
            old,
            json!({ "mediaType": old, "artifactType": "application/x", "blobs": [] }),
        ),
        (
            OCI_INDEX,
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "application/x",
            "manifests": [], "annotations": { "a": "b" }, "x.custom": true }),
        ),
    ];
    let mut lines = Vec::new();
    for (n, (kind, document)) in documents.iter().enumerate() {
        // As no serialiser of ours would write it.
        let text = document.to_string().replace(",\"", " ,\n\t\"");
        stage.put(&format!("kind-{n}"), kind, text).await;
        lines.push(format!("app:kind-{n}"));
    }
    lines.push("app:image".to_owned());
    stage.mirrored(&lines, "").await.with(0);
    stage.same("app").await;
}

async fn schema_1() {
    let stage = Stage::plain().await;
    schema1(&stage.source, "app", "old").await;
    Image::new(&["a"])
        .push(&stage.source, "app", Some("new"))
        .await;
    let ended = stage.mirrored(&["app:old", "app:new"], "").await.with(1);
    ended.saying(&["app:old", "schema 1", "schema 2 or OCI"]);
    stage.failed(0, ("unsupported", "source"), &["schema 1"]);
    assert_eq!(stage.line(1)["outcome"], "copied");
    assert_eq!(stage.destination.tag("app", "old"), None);
    let host = stage.source.host();
    let copy = format!("copy {host}/app:old {}/app:old", stage.destination.host());
    stage.place.run(&copy).await.with(1).saying(&["schema 1"]);
    // It is no failure of the signing: it says that there is nothing that a signature could hold on to.
    let before = Contents::of(&stage.source, "app").await;
    stage.clear();
    let sign = format!(
        "sign {host}/app:old --key {} --report report.json",
        OURS.private()
    );
    let mut command = stage.place.command(&sign);
    command.env("COSIGN_PASSWORD", PASSPHRASE);
    let ended = stage.place.run_command(command, &sign, "").await.with(1);
    ended.saying(&["schema 1", "not signable"]);
    stage.failed(0, ("unsupported", "destination"), &["not signable"]);
    assert!(stage.source.writes().is_empty(), "{}", stage.logs());
    assert_eq!(Contents::of(&stage.source, "app").await, before);
    // What cannot be signed is not accepted either.
    let validate = format!(
        "validate {host}/app:old --key {} --report report.json",
        OURS.public()
    );
    let ended = stage.place.run(&validate).await;
    assert!(
        ended.code().is_some_and(|code| [1, 3, 4].contains(&code)),
        "{ended}"
    );
    ended.saying(&["schema 1"]);
}
