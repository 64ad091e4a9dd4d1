//! What must not get lost, and what must not be said of it: tags that others share, and registries on a bad
//! day.

use consign::event::{Kind, Note};
use consign::oci::{Digest, MediaType};
use consign::transfer::{Options, Prune};
use libtest_mimic::Trial;
use serde_json::json;

use super::stage::{
    Api, OCI_INDEX, REFERRER_SIGNATURE, SIDES, SIGNATURE, SIMPLE_SIGNING, Stage, entry_of,
    fallback, put_tag, refer, refer_with, signatures, tag_of, tagged, without_signatures,
};
use crate::faults::{descriptor, manifest_path, put_blob, put_manifest, reference, said};
use crate::harness::trial;
use crate::registry::{Image, TestRegistry, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "closure::signatures_in_the_words_of_docker_are_joined",
            docker,
        ),
        trial("closure::a_line_that_names_a_signature_tag_joins_it", named),
        trial("closure::a_line_that_names_a_list_joins_it", named_list),
        trial(
            "closure::two_sources_of_one_image_lose_nothing",
            two_sources,
        ),
        trial("closure::prune_removes_no_image", prune_image),
        trial(
            "closure::what_is_said_to_be_absent_and_served_is_not_deleted",
            not_deleted,
        ),
        trial(
            "closure::one_repository_without_the_api_says_nothing_of_others",
            repositories,
        ),
        trial("closure::an_images_own_tag_is_no_list", own_tag),
        trial("closure::a_listed_tag_that_is_gone_is_named", gone),
        trial("closure::within_one_repository_signatures_stay", within),
    ]
}

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Puts one signature under the tag of `subject`, in any repository and any words.
async fn put_signature(
    (registry, repository): (&TestRegistry, &str),
    media_type: &str,
    subject: Digest,
    signature: &str,
) -> Digest {
    let mut layer = descriptor(SIMPLE_SIGNING, b"payload");
    layer["annotations"] = json!({ SIGNATURE: signature });
    let config = json!({ "of": signature }).to_string();
    let config_type = if media_type == DOCKER {
        "application/vnd.docker.container.image.v1+json"
    } else {
        "application/vnd.oci.image.config.v1+json"
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config_type, config.as_bytes()),
        "layers": [layer],
    });
    put_blob(registry, repository, "payload").await;
    put_blob(registry, repository, config).await;
    let path = repository.parse().unwrap();
    let tag = tag_of(subject, "sig").parse().unwrap();
    let media_type = MediaType::parse(media_type);
    let bytes = manifest.to_string().into();
    let put = registry
        .inner()
        .add_manifest(&path, Some(&tag), &media_type, bytes);
    put.await.unwrap()
}

const OCI: &str = super::stage::OCI;

async fn docker() {
    for (here, there) in [(OCI, DOCKER), (DOCKER, OCI), (DOCKER, DOCKER)] {
        let mut stage = Stage::between(SIDES[0]).await;
        let (source, destination) = (&stage.road.source, &stage.road.destination);
        let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
        put_signature((source, "app"), here, image.digest, "theirs").await;
        put_signature((destination, "app"), there, image.digest, "own").await;
        stage.copy(&Options::default()).await;
        let found = signatures(&stage.road.destination, image.digest).await;
        assert_eq!(found, ["own", "theirs"], "{here} {there}");
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&Options::default()).await);
    }
}

/// A list of all tags of a repository names those of signatures too.
async fn named() {
    let mut stage = Stage::between(SIDES[0]).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("same", "theirs")]).await;
    put_tag(destination, image.digest, "sig", &[("same", "own")]).await;
    let tag = tag_of(image.digest, "sig");
    let name = format!("app:{tag}");
    for _ in 0..2 {
        stage.road.copied(&name).await;
        let found = signatures(&stage.road.destination, image.digest).await;
        assert_eq!(found, ["own", "theirs"]);
        stage.road.next_run();
    }
    // Something was signed between the question what stands there and the setting of the tag.
    let stage = Stage::between(SIDES[0]).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    let theirs = put_tag(source, image.digest, "sig", &[("same", "theirs")]).await;
    let blob = Digest::sha256(b"same");
    let stalled = source.rule(when("GET", &format!("*/blobs/{blob}")).stall());
    let tag = tag_of(image.digest, "sig");
    let name = format!("app:{tag}");
    let signed_meanwhile = async {
        stalled.hit(1).await;
        put_tag(destination, image.digest, "sig", &[("own payload", "own")]).await;
        stalled.release();
    };
    let (copied, ()) = tokio::join!(stage.road.copied(&name), signed_meanwhile);
    assert_eq!(copied.image.digest, theirs);
    assert_eq!(
        signatures(destination, image.digest).await,
        ["own", "theirs"]
    );

    // What is no signature takes the place of none.
    let stage = Stage::between(SIDES[0]).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", None).await;
    let tag = tag_of(image.digest, "sig");
    index(source, "app", Some(&tag), &[&image]).await;
    put_tag(destination, image.digest, "sig", &[("same", "own")]).await;
    stage.road.failed(&format!("app:{tag}")).await;
    assert_eq!(signatures(destination, image.digest).await, ["own"]);
}

async fn named_list() {
    let stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    let image_there = Image::new(&["a"]).push(destination, "app", Some("1")).await;
    let theirs = refer(stage.source(), &image, "application/x", "theirs").await;
    let own = refer(stage.destination(), &image_there, "application/x", "own").await;
    let name = format!("app:{}", tag_of(image.digest, ""));
    stage.road.copied(&name).await;
    let listed = Stage::listed(stage.destination(), image.digest).await;
    assert_eq!(listed, [own.digest, theirs.digest]);
    assert_eq!(
        fallback(destination, image.digest).await[1],
        entry_of(&theirs)
    );
}

async fn two_sources() {
    let stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    Image::new(&["a"]).push(source, "other", Some("1")).await;
    put_signature((source, "app"), OCI, image.digest, "one").await;
    put_signature((source, "other"), OCI, image.digest, "two").await;
    let road = &stage.road;
    let (one, two) = tokio::join!(road.copy("app:1"), road.copy_to("other:1", "app:2"));
    one.unwrap();
    two.unwrap();
    let mut found = signatures(destination, image.digest).await;
    found.sort();
    assert_eq!(found, ["one", "two"]);
}

/// Registries delete by digest, and every tag goes with it.
async fn prune_image() {
    for is_index in [false, true] {
        let stage = Stage::between(SIDES[0]).await;
        let (source, destination) = (&stage.road.source, &stage.road.destination);
        let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
        let tag = tag_of(image.digest, "sig");
        let kept = if is_index {
            let child = Image::new(&["b"]).push(destination, "app", None).await;
            index(destination, "app", Some("keep"), &[&child]).await
        } else {
            Image::new(&["b"])
                .push(destination, "app", Some("keep"))
                .await
        };
        let media_type = kept.media_type.as_str();
        put_manifest(destination, Some(&tag), media_type, kept.bytes.clone()).await;
        let options = without_signatures(Prune::Yes { keep: None });
        stage.copy(&options).await;
        assert_eq!(destination.tag("app", "keep"), Some(kept.digest));
        assert_eq!(destination.count("DELETE", "*"), 0);
        let notes = stage.notes();
        assert!(
            matches!(&notes[..], [Note::Remark(text)] if text.contains(&tag) && text.contains("not removed")),
            "{notes:?}"
        );
    }
}

/// A registry that has no such route says 404 too.
async fn not_deleted() {
    for code in ["", "UNSUPPORTED"] {
        for is_tag in [false, true] {
            let stage = Stage::between(SIDES[0]).await;
            let (source, destination) = (&stage.road.source, &stage.road.destination);
            let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
            if is_tag {
                put_tag(destination, image.digest, "sig", &[("a", "1")]).await;
            } else {
                let types = (REFERRER_SIGNATURE, SIMPLE_SIGNING);
                refer_with(stage.destination(), &image, types, "a", json!({})).await;
            }
            let rule = when("DELETE", "*").respond(404);
            destination.rule(if code.is_empty() {
                rule
            } else {
                rule.error(code)
            });
            let options = without_signatures(Prune::Yes { keep: None });
            let result = stage.road.copy_with("app:1", "app:1", &options).await;
            let failure = stage.road.is_failed(result);
            assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
            assert_eq!(destination.tag("app", "1"), None);
        }
    }
}

/// Behind one name there may be several registries.
async fn repositories() {
    let mut stage = Stage::between(SIDES[0]).await;
    let source = &stage.road.source;
    Image::new(&["old"]).push(source, "old", Some("1")).await;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    let sbom = refer(stage.source(), &image, "application/x.sbom", "sbom").await;
    source.rule(when("GET", "/v2/old/referrers/*").respond(404));
    stage.road.copied("old:1").await;
    stage.road.copied("app:1").await;
    let listed = Stage::listed(stage.destination(), image.digest).await;
    assert_eq!(listed, [sbom.digest]);
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&Options::default()).await);
}

/// Some tools give each image a tag of its digest, which is the name of the fallback tag.
async fn own_tag() {
    for (sides, is_good) in [
        ((Api::Lacks, Api::Has), true),
        ((Api::Has, Api::Lacks), false),
    ] {
        let stage = Stage::between(sides).await;
        let (source, destination) = (&stage.road.source, &stage.road.destination);
        let amd = Image::new(&["amd"]).push(source, "app", None).await;
        let all = index(source, "app", Some("1"), &[&amd]).await;
        if is_good {
            let tag = tag_of(all.digest, "");
            put_manifest(source, Some(&tag), OCI_INDEX, all.bytes.clone()).await;
            stage.road.copied("app:1").await;
            assert_eq!(stage.notes(), []);
            // By that name too.
            stage.road.copied(&format!("app:{tag}")).await;
            assert_eq!(destination.tag("app", &tag), Some(all.digest));
        } else {
            Image::new(&["amd"]).push(destination, "app", None).await;
            let tag = tag_of(all.digest, "");
            put_manifest(destination, Some(&tag), OCI_INDEX, all.bytes.clone()).await;
            refer(stage.source(), &all, "application/x.sbom", "sbom").await;
            let failure = stage.road.failed("app:1").await;
            assert!(said(&failure).contains(&tag), "{}", said(&failure));
            assert_eq!(destination.tag("app", &tag), Some(all.digest));
            assert_eq!(destination.tag("app", "1"), None);
        }
    }
}

async fn gone() {
    let stage = Stage::between(SIDES[0]).await;
    let source = &stage.road.source;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("a", "1")]).await;
    let tag = tag_of(image.digest, "sig");
    source.rule(when("*", &manifest_path(&tag)).respond(404));
    stage.copy(&Options::default()).await;
    let notes = stage.notes();
    assert!(
        matches!(&notes[..], [Note::Remark(text)] if text.contains(&tag)),
        "{notes:?}"
    );
    assert!(
        tagged(&stage.road.destination, image.digest, "sig")
            .await
            .is_none()
    );
}

async fn within() {
    let stage = Stage::between(SIDES[0]).await;
    let source = &stage.road.source;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("a", "1")]).await;
    let (from, to) = (reference(source, "app:1"), reference(source, "app:2"));
    let options = without_signatures(Prune::Yes { keep: None });
    let result = stage.road.transfer(&from, &to, &options).await;
    stage.road.is_copied(result);
    assert_eq!(signatures(source, image.digest).await, ["1"]);
    let notes = stage.notes();
    assert!(
        matches!(&notes[..], [Note::Remark(text)] if text.contains("one repository")),
        "{notes:?}"
    );
}
