//! The promises that this program makes about copying, each under its name.

use std::collections::HashMap;

use consign::event::{Kind, Outcome};
use consign::oci::{Digest, PlatformSelection};
use consign::registry::{Access, Expected};
use consign::transfer::{Closure, Options};
use libtest_mimic::Trial;

use super::{
    Road, bearer, blob_path, known_to, manifest_path, new_client, noise, password, quick,
    reference, said,
};
use crate::harness::trial;
use crate::registry::{Bearer, Contents, Image, Settings, TestRegistry, attestation, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("promises::bytes_match_names", bytes_match_names),
        trial("promises::children_first", children_first),
        trial("promises::run_twice_write_once", run_twice_write_once),
        trial("promises::secrets_do_not_print", secrets_do_not_print),
    ]
}

/// Whatever the source serves, nothing stands at the destination under a name that is not its own.
async fn bytes_match_names() {
    let layer = noise(200_000, 1);
    let config_of = |image: &crate::registry::Pushed| image.blobs[0];
    for place in 0..6 {
        let road = Road::plain().await;
        let source = &road.source;
        let one = Image::of_blobs([layer.clone()])
            .push(source, "app", None)
            .await;
        let two = Image::new(&["two"])
            .on("linux/arm64")
            .push(source, "app", None)
            .await;
        let all = index(source, "app", Some("1"), &[&one, &two]).await;
        let rule = match place {
            0 => when("GET", &blob_path(&one.blobs[1])).corrupt_body_at(0),
            1 => when("GET", &blob_path(&one.blobs[1])).corrupt_body_at(199_999),
            2 => when("GET", &blob_path(&config_of(&one))).corrupt_body_at(20),
            3 => when("GET", &manifest_path(one.digest)).corrupt_body_at(30),
            4 => when("GET", &manifest_path(one.digest)).replace_body(two.bytes.clone()),
            _ => when("GET", &blob_path(&two.blobs[1])).replace_body("something else"),
        };
        source.rule(rule);
        let failure = road.failed("app:1").await;
        assert_eq!(
            failure.kind,
            Kind::Integrity,
            "{place}: {}\n{}",
            said(&failure),
            road.logs()
        );
        let contents = Contents::of(&road.destination, "app").await;
        assert!(contents.tags.is_empty(), "{place}: {contents:?}");
        assert!(!contents.manifests.contains_key(&all.digest));
        for (digest, bytes) in &contents.blobs {
            assert_eq!(digest, &Digest::sha256(bytes), "{place}");
        }
        for (digest, (_, bytes)) in &contents.manifests {
            assert_eq!(digest, &Digest::sha256(bytes), "{place}");
        }

        // Once the source is well again, the same engine brings all of it.
        source.clear_rules();
        road.copied("app:1").await;
        assert_eq!(
            Contents::of(source, "app").await,
            Contents::of(&road.destination, "app").await
        );
    }
}

/// A manifest is pushed after all that it names was answered for; the tag is the last write.
async fn children_first() {
    let road = Road::plain().await;
    let source = &road.source;
    let amd = Image::of_blobs([noise(300_000, 1), noise(10, 2)])
        .push(source, "app", None)
        .await;
    let arm = Image::of_blobs([noise(300_000, 1), noise(2_000_000, 3)])
        .on("linux/arm64")
        .push(source, "app", None)
        .await;
    let attested = attestation(source, "app", &amd).await;
    let inner = index(source, "app", None, &[&amd, &attested]).await;
    let all = index(source, "app", Some("all"), &[&inner, &arm]).await;
    road.copied("app:all").await;

    let destination = &road.destination;
    let writes = destination.writes();
    let of_blob = |digest: &Digest| {
        let digest = digest.to_string().replace(':', "%3A");
        let done = writes.iter().filter(|write| {
            write.query.ends_with(&format!("digest={digest}")) && write.status == Some(201)
        });
        done.collect::<Vec<_>>()
    };
    let of_manifest = |identifier: String| {
        let path = manifest_path(identifier);
        let put: Vec<_> = writes
            .iter()
            .filter(|write| write.is("PUT", &path))
            .collect();
        assert_eq!(put.len(), 1, "{path}\n{}", destination.log_text());
        put[0]
    };
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    for image in [&amd, &arm, &attested] {
        let put = of_manifest(image.digest.to_string());
        for blob in &image.blobs {
            let blobs = of_blob(blob);
            assert_eq!(blobs.len(), 1, "{blob}\n{}", destination.log_text());
            assert!(blobs[0].answered.unwrap() < put.number);
        }
    }
    let tag = "all".to_owned();
    names.insert(
        inner.digest.to_string(),
        vec![amd.digest.to_string(), attested.digest.to_string()],
    );
    names.insert(
        tag.clone(),
        vec![inner.digest.to_string(), arm.digest.to_string()],
    );
    for (parent, children) in names {
        let parent = of_manifest(parent);
        for child in children {
            assert!(of_manifest(child).answered.unwrap() < parent.number);
        }
    }
    let last = of_manifest(tag);
    for write in &writes {
        assert!(write.number == last.number || write.answered.unwrap() < last.number);
    }
    // The root is written once, under its tag.
    assert_eq!(destination.count("PUT", &manifest_path(all.digest)), 0);
}

/// A second identical run writes nothing, and asks each side once for each image; and for what is
/// attached to it, as `transfer::Closure` says.
async fn run_twice_write_once() {
    // The index is read where something may be attached to its images. Asked for referrers are the five
    // images, the index and its two, and once more the index that is made anew.
    for (closure, gets, lists, tags) in [(Closure::None, 1, 0, 0), (Closure::All, 2, 9, 1)] {
        let mut road = Road::between(bearer(Bearer::default()), bearer(Bearer::default())).await;
        let images = 5;
        for tag in 0..images {
            Image::new(&["base", &format!("layer {tag}")])
                .push(&road.source, "app", Some(&tag.to_string()))
                .await;
        }
        let amd = Image::new(&["base"]).push(&road.source, "app", None).await;
        let arm = Image::new(&["arm"])
            .on("linux/arm64")
            .push(&road.source, "app", None)
            .await;
        index(&road.source, "app", Some("all"), &[&amd, &arm]).await;
        let whole = Options {
            closure,
            ..Options::default()
        };
        let selected = Options {
            selection: PlatformSelection::of_platforms(&["linux/arm64".parse().unwrap()]),
            ..whole.clone()
        };
        let run = async |road: &Road| {
            let mut outcomes = Vec::new();
            for tag in 0..images {
                let name = format!("app:{tag}");
                outcomes.push(road.copy_with(&name, &name, &whole).await.unwrap());
            }
            for (to, options) in [("app:all", &whole), ("app:arm", &selected)] {
                outcomes.push(road.copy_with("app:all", to, options).await.unwrap());
            }
            outcomes
        };
        let first = run(&road).await;
        assert!(first.iter().all(|o| matches!(o, Outcome::Copied(_))));
        let after = Contents::of(&road.destination, "app").await;

        road.next_run();
        let second = run(&road).await;
        assert!(
            second.iter().all(|o| matches!(o, Outcome::UpToDate(_))),
            "{second:?}"
        );
        assert_eq!(road.destination.writes().len(), 0, "{}", road.logs());
        assert_eq!(road.source.count("GET", "*/blobs/*"), 0);
        assert_eq!(Contents::of(&road.destination, "app").await, after);
        for tag in 0..images {
            let path = manifest_path(tag);
            assert_eq!(road.source.count("HEAD", &path), 1 + usize::from(tag == 0));
            assert_eq!(
                road.destination.count("HEAD", &path),
                1 + usize::from(tag == 0)
            );
        }
        let logs = road.logs();
        assert_eq!(
            road.source.count("GET", &manifest_path("*")),
            gets,
            "{logs}"
        );
        assert_eq!(road.source.count("GET", "*/referrers/*"), lists, "{logs}");
        assert_eq!(road.source.count("GET", "*/tags/list"), tags, "{logs}");
        for path in [&manifest_path("*"), "*/referrers/*", "*/tags/list"] {
            assert_eq!(road.destination.count("GET", path), 0, "{logs}");
        }
        for (one, other) in first.iter().zip(&second) {
            assert_eq!(one.copied().unwrap().image, other.copied().unwrap().image);
            assert_eq!(one.copied().unwrap().source, other.copied().unwrap().source);
        }
    }
}

const SECRETS: [&str; 5] = [
    "hunter2",
    "aHVudGVyMg",
    "refresh-secret",
    "signed-secret",
    "test-",
];

fn holds_no_secret(text: &str) {
    // Also as Basic encodes it, at any offset.
    for secret in SECRETS.iter().chain(&["h1bnRlcj", "odW50ZXIy", "aHVudGVy"]) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// Neither credentials nor tokens nor signed URLs are shown by anything that can be shown.
async fn secrets_do_not_print() {
    let asks = || {
        bearer(Bearer {
            credentials: Some(("hunter", "hunter2")),
            ..Bearer::default()
        })
    };
    let (source, destination) = (
        TestRegistry::with(asks()).await,
        TestRegistry::with(asks()).await,
    );
    let cdn = TestRegistry::start().await;
    let mut settings = quick();
    for registry in [&source, &destination] {
        let host = registry.host().parse().unwrap();
        settings.insert(&host, &password("hunter", "hunter2"));
    }
    settings.insert(
        &"other.example".parse().unwrap(),
        &consign::registry::Credential::IdentityToken("refresh-secret".into()),
    );
    holds_no_secret(&format!("{settings:?} {settings:#?}"));
    let road = Road::of(source, destination, settings);
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let layer = image.blobs[1];

    // The place of a blob is signed, and gone.
    let signed = format!("{}/v2/gone/x?X-Amz-Signature=signed-secret", cdn.url());
    let moved = when("GET", &blob_path(&layer)).redirect(&signed);
    road.source.rule(moved);
    let error = road.copy("app:1").await.unwrap_err();
    assert!(cdn.count("GET", "*?*signed-secret") > 0);
    let shown = format!("{error} {error:?} {error:#?} {:?}", error.failure());
    assert!(shown.contains("/v2/gone/x"), "{shown}");
    holds_no_secret(&shown);
    // The client holds tokens by now.
    assert!(!road.source.token_requests().is_empty());
    holds_no_secret(&format!("{:?} {:#?}", road.engine, road.engine.client()));
    road.source.clear_rules();

    // It cuts the connection, answers garbage, sends to where nobody goes.
    for rule in [
        when("GET", &blob_path(&layer)).hang_up(),
        when("GET", &blob_path(&layer)).redirect("http://169.254.169.254/x?sig=signed-secret"),
        when("GET", &blob_path(&layer))
            .redirect("http://hunter:hunter2@127.0.0.1:1/x?sig=signed-secret"),
        when("GET", &blob_path(&layer)).respond(200).body("short"),
        when("GET", &blob_path(&layer)).respond(403),
    ] {
        road.source.rule(rule);
        let error = road.copy("app:1").await.unwrap_err();
        let failure = error.failure();
        holds_no_secret(&format!("{error} {error:?} {failure:?}"));
        road.source.clear_rules();
    }

    // The place of an upload is signed too.
    let location = format!("{}/up?_state=signed-secret", road.destination.url());
    let uploads = when("POST", "*/blobs/uploads/*").respond(202);
    road.destination.rule(uploads.header("location", &location));
    road.destination
        .rule(when("PUT", "/up").respond(400).error("BLOB_UPLOAD_INVALID"));
    let error = road.copy("app:1").await.unwrap_err();
    let shown = format!("{error} {error:?} {:?}", error.failure());
    assert!(shown.contains("/up"), "{shown}");
    holds_no_secret(&shown);
    let repository = reference(&road.destination, "app").repository;
    let descriptor = super::descriptor("application/octet-stream", b"x");
    let descriptor = serde_json::from_value(descriptor).unwrap();
    let begun = road
        .engine
        .client()
        .begin_upload(&repository, &descriptor, Expected::Absent)
        .await;
    holds_no_secret(&format!("{begun:?}"));

    // A realm with secrets of its own is refused without repeating them.
    for realm in [
        "http://hunter:hunter2@127.0.0.1/token",
        "http://169.254.169.254/token?key=signed-secret",
        "no url, signed-secret",
    ] {
        let settings = bearer(Bearer {
            realm: Some(realm.to_owned()),
            ..Bearer::default()
        });
        let registry = TestRegistry::with(settings).await;
        let client = new_client(known_to(&[&registry]));
        let image = reference(&registry, "app:1");
        let resolved = client
            .resolve(&image.repository, &image.identifier(), Access::Pull)
            .await;
        let error = resolved.unwrap_err();
        holds_no_secret(&format!("{error} {error:?}"));
    }
    // A registry whose settings are shown is no leak either.
    holds_no_secret(&format!("{:?}", Settings::default()));
}
