//! Manifests of every kind, and those that lie.

use consign::event::{Kind, Outcome, Side};
use consign::oci::{Digest, Identifier};
use consign::registry::Access;
use consign::transfer::{Closure, Options};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{
    Road, blob_path, descriptor, manifest_path, noise, put_blob, put_manifest, reference, said,
};
use crate::harness::trial;
use crate::registry::{
    Contents, Image, TestRegistry, artifact, attestation, index, manifest_list, schema1, when,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("manifests::every_kind_is_copied_bit_for_bit", kinds),
        trial("manifests::odd_documents_are_copied_bit_for_bit", odd),
        trial(
            "manifests::an_index_in_an_index_in_an_index_is_copied",
            nested,
        ),
        trial("manifests::schema_1_is_refused_in_clear_words", old),
        trial(
            "manifests::a_child_that_is_not_as_described_is_refused",
            described,
        ),
        trial(
            "manifests::another_manifest_than_asked_for_is_refused",
            other_digest,
        ),
        trial(
            "manifests::what_two_readers_read_differently_is_refused",
            two_faces,
        ),
        trial("manifests::what_is_no_manifest_is_refused", no_manifest),
        trial("manifests::too_large_a_manifest_is_refused", too_large),
        trial("manifests::a_ladder_of_indexes_is_refused", ladder),
        trial(
            "manifests::an_index_of_twenty_thousand_is_refused_at_once",
            crowd,
        ),
        trial("manifests::a_login_page_is_no_manifest", page),
        trial(
            "manifests::a_head_without_a_digest_is_made_up_for",
            no_digest,
        ),
        trial("manifests::a_head_that_is_refused_is_made_up_for", no_head),
        trial(
            "manifests::a_wrong_digest_header_is_not_trusted",
            header_lies,
        ),
        trial(
            "manifests::a_tag_that_moves_does_not_change_the_copy",
            moved,
        ),
        trial(
            "manifests::a_destination_that_stored_something_else_is_named",
            stored,
        ),
        trial("manifests::a_child_that_is_missing_is_said_so", missing),
        trial("manifests::a_tag_that_is_missing_is_said_so", absent),
        trial("manifests::a_digest_is_copied_without_a_tag", by_digest),
        trial("manifests::manifests_that_are_cut_are_read_again", cut),
    ]
}

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn same(road: &Road) {
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

/// Config, layer and their descriptors, in `app`.
async fn blobs(registry: &TestRegistry) -> (Value, Value) {
    put_blob(registry, "app", "{}").await;
    put_blob(registry, "app", "layer").await;
    (
        descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        descriptor("application/vnd.oci.image.layer.v1.tar", b"layer"),
    )
}

async fn kinds() {
    let road = Road::plain().await;
    let source = &road.source;
    // The artifacts are copied by name here.
    let alone = Options {
        closure: Closure::None,
        ..Options::default()
    };
    let copied = async |name: &str| {
        road.is_copied(road.copy_with(name, name, &alone).await);
    };
    Image::new(&["a"]).push(source, "app", Some("oci")).await;
    let docker = Image::new(&["b"])
        .docker()
        .push(source, "app", Some("docker"))
        .await;
    let arm = Image::new(&["c"])
        .docker()
        .on("linux/arm64/v8")
        .push(source, "app", None)
        .await;
    manifest_list(source, "app", Some("list"), &[&docker, &arm]).await;
    let amd = Image::new(&["d"]).push(source, "app", None).await;
    let attested = attestation(source, "app", &amd).await;
    let all = index(source, "app", Some("index"), &[&amd, &attested]).await;
    let signed = artifact(source, "app", "application/x.sig", Some(&all), "signed").await;
    let tags = ["oci", "docker", "list", "index"];
    for tag in tags {
        copied(&format!("app:{tag}")).await;
    }
    let name = format!("app@{}", signed.digest);
    copied(&name).await;

    // An artifact manifest of old, with blobs and without a config.
    let blob = put_blob(source, "app", "sbom").await;
    let media_type = "application/vnd.oci.artifact.manifest.v1+json";
    let document = json!({
        "mediaType": media_type,
        "artifactType": "application/x.sbom",
        "blobs": [descriptor("application/x", b"sbom")],
        "subject": all.descriptor(),
    });
    put_manifest(source, Some("artifact"), media_type, document.to_string()).await;
    copied("app:artifact").await;

    // A type that nobody knows, and an index that refers to something.
    let (config, layer) = blobs(source).await;
    let media_type = "application/vnd.example.thing.v7+json";
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config,
        "layers": [layer],
        "subject": descriptor(OCI, b"never there"),
    });
    put_manifest(source, Some("thing"), media_type, document.to_string()).await;
    copied("app:thing").await;
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": "application/x.list",
        "manifests": [amd.descriptor()],
        "subject": descriptor(OCI, b"never there"),
    });
    put_manifest(source, Some("refers"), OCI_INDEX, document.to_string()).await;
    copied("app:refers").await;
    same(&road).await;
    let contents = Contents::of(&road.destination, "app").await;
    assert!(contents.blobs.contains_key(&blob));
}

async fn odd() {
    let road = Road::plain().await;
    let source = &road.source;
    let (config, layer) = blobs(source).await;
    let documents = [
        format!(
            "{{\n\t\"layers\" : [ {layer} ] ,\r\n \"config\":{config},\"schemaVersion\":2, \
             \"mediaType\":\"{OCI}\",\"float\":1.0,\"exponent\":1E5,\"huge\":1e400, \
             \"big\":123456789012345678901234567890,\"escaped\":\"\\u00e9\\/\\n\", \
             \"annotations\":{{\"z\":\"1\",\"a\":\"2\"}},\"null\":null, \
             \"data\":{{\"b\":[1,2.50],\"a\":{{}}}} }}\n\n"
        ),
        // Deeper than any stack.
        format!(
            "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}],\"deep\":{}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        // Without a media type of its own.
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer},{layer}]}}"),
        // What Go writes for nothing.
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI}\",\"config\":{config},\"layers\":[], \
             \"annotations\":null,\"subject\":null,\"artifactType\":\"\"}}"
        ),
    ];
    for (n, document) in documents.iter().enumerate() {
        let tag = n.to_string();
        let digest = put_manifest(source, Some(&tag), OCI, document.clone()).await;
        let copied = road.copied(&format!("app:{tag}")).await;
        assert_eq!(copied.image.digest, digest);
        let contents = Contents::of(&road.destination, "app").await;
        assert_eq!(contents.manifests[&digest].1, document.as_bytes());
    }
    // Served as nothing in particular, it goes on as what it says it is.
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    for kind in ["application/json", "text/plain; charset=utf-8", ""] {
        road.source.clear_rules();
        road.source
            .rule(when("GET", "*/manifests/*").set_header("content-type", kind));
        let copy = road.copy_to("app:1", "app:1").await;
        assert!(copy.is_ok(), "{kind}");
    }
    same(&road).await;
}

async fn nested() {
    let road = Road::plain().await;
    let source = &road.source;
    let mut inner = Image::new(&["a"]).push(source, "app", None).await;
    let other = Image::new(&["b"])
        .on("linux/arm64")
        .push(source, "app", None)
        .await;
    for _ in 0..2 {
        inner = index(source, "app", None, &[&inner, &other]).await;
    }
    index(source, "app", Some("1"), &[&inner, &other]).await;
    let copied = road.copied("app:1").await;
    // Two images, three indexes; what is named thrice is pushed once.
    assert_eq!(copied.tally.manifests_pushed, 5);
    assert_eq!(road.source.count("GET", &manifest_path(other.digest)), 1);
    same(&road).await;
}

async fn old() {
    let road = Road::plain().await;
    schema1(&road.source, "app", "1").await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Unsupported, Some(Side::Source))
    );
    assert!(said(&failure).contains("schema 1"), "{}", said(&failure));
    assert!(road.destination.writes().is_empty());
}

/// An index whose one entry is `entry`.
fn index_of(entry: &Value) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] }).to_string()
}

async fn described() {
    for (field, value) in [
        ("size", json!(1)),
        ("size", json!(100_000)),
        ("mediaType", json!(OCI_INDEX)),
        (
            "mediaType",
            json!("application/vnd.docker.distribution.manifest.v2+json"),
        ),
    ] {
        let road = Road::plain().await;
        let image = Image::new(&["a"]).push(&road.source, "app", None).await;
        let mut entry = image.descriptor();
        entry[field] = value;
        put_manifest(&road.source, Some("1"), OCI_INDEX, index_of(&entry)).await;
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Integrity, Some(Side::Source)),
            "{field}: {}",
            said(&failure)
        );
        assert!(said(&failure).contains(&image.digest.to_string()));
        assert!(road.destination.writes().is_empty());
    }
    // A child that may not be read at all, by its size.
    let road = Road::plain().await;
    let image = Image::new(&["a"]).push(&road.source, "app", None).await;
    let mut entry = image.descriptor();
    entry["size"] = json!(1_u64 << 30);
    put_manifest(&road.source, Some("1"), OCI_INDEX, index_of(&entry)).await;
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unsupported, "{}", said(&failure));
    assert_eq!(road.source.count("GET", &manifest_path(image.digest)), 0);
}

async fn other_digest() {
    let road = Road::plain().await;
    let one = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let two = Image::new(&["b"]).push(&road.source, "app", None).await;
    let swapped = when("GET", &manifest_path(one.digest));
    road.source.rule(swapped.replace_body(two.bytes.clone()));
    let failure = road.failed(&format!("app@{}", one.digest)).await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
    assert!(said(&failure).contains(&one.digest.to_string()));
    assert!(said(&failure).contains(&two.digest.to_string()));
    assert!(road.destination.writes().is_empty());
    // HEAD by digest that answers with another digest.
    let repository = reference(&road.source, "app").repository;
    let head = when("HEAD", &manifest_path(one.digest));
    road.source
        .rule(head.set_header("docker-content-digest", &two.digest.to_string()));
    let client = road.engine.client();
    let error = client
        .resolve(&repository, &Identifier::Digest(one.digest), Access::Pull)
        .await;
    assert!(error.unwrap_err().to_string().contains("wrong bytes"));
}

async fn two_faces() {
    let road = Road::plain().await;
    let (config, layer) = blobs(&road.source).await;
    let entry = descriptor(OCI, b"x");
    let documents = [
        (
            OCI,
            format!(
                "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}],\"manifests\":[{entry}]}}"
            ),
        ),
        (
            OCI_INDEX,
            format!("{{\"schemaVersion\":2,\"layers\":[{layer}],\"manifests\":[{entry}]}}"),
        ),
        (
            OCI,
            format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]}}"),
        ),
        (
            OCI_INDEX,
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[]}}"),
        ),
        (
            OCI,
            format!(
                "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}],\"layers\":[]}}"
            ),
        ),
        (
            OCI,
            format!(
                "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}],\"Layers\":[]}}"
            ),
        ),
        (
            OCI_INDEX,
            format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{OCI}\",\"config\":{config},\"layers\":[]}}"
            ),
        ),
    ];
    for (n, (kind, document)) in documents.into_iter().enumerate() {
        let tag = n.to_string();
        put_manifest(&road.source, Some(&tag), kind, document.clone()).await;
        let failure = road.failed(&format!("app:{tag}")).await;
        assert!(
            matches!(failure.kind, Kind::Unsupported | Kind::Integrity),
            "{document}: {}",
            said(&failure)
        );
    }
    assert!(road.destination.writes().is_empty());
}

async fn no_manifest() {
    let road = Road::plain().await;
    let (config, layer) = blobs(&road.source).await;
    let whole = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}]}}");
    let bad_digest = |digest: &str| {
        format!(
            "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{{\"mediaType\":\"a/b\",\
             \"digest\":\"{digest}\",\"size\":1}}]}}"
        )
    };
    let documents = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "{\"schemaVersion\":2}".to_owned(),
        "\u{feff}".to_owned() + &whole,
        whole.clone() + "\0",
        whole.clone() + "{}",
        whole.replace('2', "\u{0}"),
        bad_digest("sha256:../../etc/passwd"),
        bad_digest("sha256:"),
        bad_digest("md5:d41d8cd98f00b204e9800998ecf8427e"),
        bad_digest(&Digest::sha256(b"x").to_string().to_uppercase()),
        bad_digest("sha256:0123456789abcdef"),
    ];
    for (n, document) in documents.into_iter().enumerate() {
        let tag = n.to_string();
        put_manifest(&road.source, Some(&tag), OCI, document).await;
        let failure = road.failed(&format!("app:{tag}")).await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Unsupported, Some(Side::Source)),
            "{n}: {}",
            said(&failure)
        );
    }
    assert!(road.destination.writes().is_empty());
    // A list of a single number, served as an image: the message is short and clean.
    let text = "\u{1b}[31m".repeat(1000);
    put_manifest(&road.source, Some("loud"), OCI, text).await;
    let failure = road.failed("app:loud").await;
    assert!(said(&failure).len() < 2000);
    assert!(!said(&failure).contains('\u{1b}'));
}

async fn too_large() {
    let road = Road::plain().await;
    let (config, layer) = blobs(&road.source).await;
    let padding = "x".repeat(4 * 1024 * 1024);
    let document = format!(
        "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}],\"x\":\"{padding}\"}}"
    );
    let large = when("GET", "*/manifests/*").respond(200);
    let large = large.header("content-type", OCI).body(document);
    road.source.rule(large);
    let failure = road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Source));
    assert!(
        said(&failure).contains("more than 4194304 bytes"),
        "{}",
        said(&failure)
    );
    assert_eq!(road.source.log().len(), 1, "{}", road.logs());
}

async fn ladder() {
    let road = Road::plain().await;
    let source = &road.source;
    let mut rung = Image::new(&["a"]).push(source, "app", None).await;
    for _ in 0..30 {
        rung = index(source, "app", Some("1"), &[&rung]).await;
    }
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unsupported, "{}", said(&failure));
    assert!(said(&failure).contains("levels of indexes"));
    assert!(road.source.log().len() <= 10, "{}", road.logs());
    assert!(road.destination.writes().is_empty());
}

async fn crowd() {
    let road = Road::plain().await;
    let entries: Vec<Value> = (0..20_000_u32)
        .map(|n| descriptor(OCI, &n.to_be_bytes()))
        .collect();
    let document = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    put_manifest(&road.source, Some("1"), OCI_INDEX, document.to_string()).await;
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unsupported, "{}", said(&failure));
    assert!(said(&failure).contains("10,000"), "{}", said(&failure));
    assert_eq!(road.source.log().len(), 1, "{}", road.source.log().len());
    assert!(road.destination.writes().is_empty());
}

async fn page() {
    for is_moved in [false, true] {
        let road = Road::plain().await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let path = if is_moved {
            let to_login = when("*", "*/manifests/*").respond(302);
            road.source.rule(to_login.header("location", "/login"));
            "/login"
        } else {
            "*/manifests/*"
        };
        let html = when("*", path).respond(200);
        let html = html.header("content-type", "text/html");
        road.source.rule(html.body("<html>please log in</html>"));
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Refused, Some(Side::Source)),
            "{}",
            said(&failure)
        );
        assert!(road.destination.writes().is_empty());
    }
}

async fn no_digest() {
    let mut road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    for registry in [&road.source, &road.destination] {
        registry.rule(when("*", "*/manifests/*").drop_header("docker-content-digest"));
    }
    let copied = road.copied("app:1").await;
    assert_eq!(copied.image.digest, image.digest);
    road.next_run();
    let again = road.copy("app:1").await.unwrap();
    assert!(matches!(again, Outcome::UpToDate(_)), "{again:?}");
    assert!(road.destination.writes().is_empty());
}

async fn no_head() {
    for status in [400, 403, 405, 501] {
        let mut road = Road::plain().await;
        let image = Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        for registry in [&road.source, &road.destination] {
            registry.rule(when("HEAD", "*/manifests/*").respond(status));
        }
        let copied = road.copied("app:1").await;
        assert_eq!(copied.image.digest, image.digest);
        road.next_run();
        let again = road.copy("app:1").await.unwrap();
        assert!(matches!(again, Outcome::UpToDate(_)), "{again:?}");
    }
}

async fn header_lies() {
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let lie = Digest::sha256(b"lie").to_string();
    for lie in [lie.as_str(), "nonsense"] {
        road.source.clear_rules();
        road.source
            .rule(when("GET", "*/manifests/*").set_header("docker-content-digest", lie));
        let copy = road.copy_to("app:1", &format!("app:{}", lie.len())).await;
        let copied = road.is_copied(copy);
        assert_eq!(copied.image.digest, image.digest);
    }
}

async fn moved() {
    let road = Road::plain().await;
    let source = &road.source;
    let planned = Image::new(&["planned"])
        .push(source, "app", Some("1"))
        .await;
    Image::new(&["old"])
        .push(&road.destination, "app", Some("1"))
        .await;
    let asked = source.rule(when("GET", "*/manifests/*").stall());
    let moves = async {
        asked.hit(1).await;
        Image::new(&["moved"]).push(source, "app", Some("1")).await;
        asked.release();
    };
    let (copied, ()) = tokio::join!(road.copied("app:1"), moves);
    assert_eq!(copied.image.digest, planned.digest);
    assert_eq!(road.destination.tag("app", "1"), Some(planned.digest));

    // It moves while the blobs are read; the index and its children are those of the beginning.
    let road = Road::plain().await;
    let source = &road.source;
    let child = Image::of_blobs([noise(1000, 1)])
        .push(source, "app", None)
        .await;
    let planned = index(source, "app", Some("1"), &[&child]).await;
    let asked = source.rule(when("GET", &blob_path(&child.blobs[1])).stall());
    let moves = async {
        asked.hit(1).await;
        Image::new(&["moved"]).push(source, "app", Some("1")).await;
        asked.release();
    };
    let (copied, ()) = tokio::join!(road.copied("app:1"), moves);
    assert_eq!(copied.image.digest, planned.digest);
    assert_eq!(road.destination.tag("app", "1"), Some(planned.digest));
}

async fn stored() {
    let other = Digest::sha256(b"other").to_string();
    for (header, told) in [
        (other.as_str(), other.as_str()),
        // It may be a secret that is sent back.
        ("nonsense", "what is no digest"),
        ("", ""),
    ] {
        let is_good = told.is_empty();
        let road = Road::plain().await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let put = when("PUT", "*/manifests/*");
        road.destination.rule(if is_good {
            put.drop_header("docker-content-digest")
        } else {
            put.set_header("docker-content-digest", header)
        });
        if is_good {
            road.copied("app:1").await;
        } else {
            let failure = road.failed("app:1").await;
            assert_eq!(
                (failure.kind, failure.side),
                (Kind::Integrity, Some(Side::Destination)),
                "{}",
                said(&failure)
            );
            assert!(said(&failure).contains(told), "{}", said(&failure));
            assert!(!said(&failure).contains("nonsense"), "{}", said(&failure));
        }
    }
}

async fn missing() {
    let road = Road::plain().await;
    let image = Image::new(&["a"]).push(&road.source, "app", None).await;
    let gone = descriptor(OCI, b"gone");
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [image.descriptor(), gone],
    });
    put_manifest(&road.source, Some("1"), OCI_INDEX, document.to_string()).await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert!(said(&failure).contains(&Digest::sha256(b"gone").to_string()));
    assert_eq!(road.destination.tag("app", "1"), None);
}

async fn absent() {
    let road = Road::plain().await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source))
    );
    // Also where the destination has one.
    Image::new(&["a"])
        .push(&road.destination, "app", Some("1"))
        .await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert!(road.destination.writes().is_empty());
}

async fn by_digest() {
    let road = Road::plain().await;
    let one = Image::new(&["a"]).push(&road.source, "app", None).await;
    let two = Image::new(&["b"])
        .on("linux/arm64")
        .push(&road.source, "app", None)
        .await;
    let all = index(&road.source, "app", None, &[&one, &two]).await;
    let name = format!("app@{}", all.digest);
    road.copied(&name).await;
    same(&road).await;
    assert_eq!(road.source.count("HEAD", "*"), 0);
    let again = road.copy(&name).await.unwrap();
    assert!(matches!(again, Outcome::UpToDate(_)), "{again:?}");
    // From a digest to a tag.
    let copy = road
        .copy_with(&name, "app:pinned", &Options::default())
        .await;
    road.is_copied(copy);
    assert_eq!(road.destination.tag("app", "pinned"), Some(all.digest));
}

async fn cut() {
    let road = Road::plain().await;
    let image = Image::new(&["a"]).push(&road.source, "app", None).await;
    index(&road.source, "app", Some("1"), &[&image]).await;
    for path in [manifest_path("1"), manifest_path(image.digest)] {
        road.source
            .rule(when("GET", &path).times(2).cut_body_after(20));
    }
    road.copied("app:1").await;
    same(&road).await;
}
