//! Whole runs of the program by somebody who wants more accepted, copied or signed than was judged.

use std::collections::BTreeMap;

use consign::event::Format;
use consign::sigstore::Passphrase;
use libtest_mimic::Trial;

use super::{Court, Layer, attach};
use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{Image, Pushed, TestRegistry, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "verify::all_that_a_digest_line_copies_is_judged",
            digest_line,
        ),
        trial(
            "verify::an_image_that_was_rejected_is_not_signed_by_another_line",
            another_line,
        ),
        trial(
            "verify::a_bundle_under_its_old_media_type_is_a_signature",
            old_type,
        ),
        trial(
            "verify::credentials_that_are_refused_leave_a_validation_open",
            refused,
        ),
    ]
}

/// An index of two platforms, of which only the first is signed.
async fn half_signed(court: &Court) -> Pushed {
    let mut children = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let image = Image::new(&[platform]).on(platform);
        children.push(image.push(&court.registry, "app", None).await);
    }
    let layer = court.sign(Format::Tag, &court.name("app:1"), children[0].digest);
    court.attach(Format::Tag, &children[0], &[layer]).await;
    let children: Vec<&Pushed> = children.iter().collect();
    index(&court.registry, "app", Some("1"), &children).await
}

/// A place with the public key of the court, `key.pub`.
fn place(court: &Court) -> Workplace {
    let place = Workplace::new();
    place.write("key.pub", court.key.public().to_pem());
    place
}

async fn digest_line() {
    let court = Court::open().await;
    let root = half_signed(&court).await;
    let destination = TestRegistry::start().await;
    let place = place(&court);
    let mirror = format!(
        "mirror -f list.txt -d {} --verify-key key.pub --arch amd64 --report report.json",
        destination.host()
    );
    place.write("list.txt", court.name(&format!("app@{}\n", root.digest)));
    place.run(&mirror).await.with(3);
    assert_eq!(outcomes(&place.json("report.json")), ["rejected"]);
    assert!(
        destination.writes().is_empty(),
        "{}",
        destination.log_text()
    );
    // With a tag only what is selected is copied, and only that is judged.
    place.write("list.txt", court.name("app:1\n"));
    place.run(&mirror).await.with(0);
}

async fn another_line() {
    let court = Court::open().await;
    let image = Image::new(&["a"]);
    image.push(&court.registry, "app", Some("1")).await;
    let place = place(&court);
    let passphrase = Passphrase::new("test passphrase".to_owned());
    place.write("test.key", court.key.seal(&passphrase).unwrap());
    place.write("passphrase", "test passphrase");
    place.write("list.txt", court.name("app:1\n"));
    let validate = "validate -f list.txt --key key.pub -o validate-failed.txt";
    place.run(validate).await.with(3);
    let sign = "sign --key test.key --passphrase-file passphrase --report report.json";
    for lists in [
        "-f list.txt -f validate-failed.txt",
        "-f validate-failed.txt -f list.txt",
    ] {
        court.registry.clear_log();
        place.run(&format!("{sign} {lists}")).await.with(3);
        assert!(
            court.registry.writes().is_empty(),
            "{lists}: {}",
            court.registry.log_text()
        );
    }
}

async fn old_type() {
    let court = Court::open().await;
    let image = Image::new(&["a"]);
    let image = image.push(&court.registry, "app", Some("1")).await;
    let layer = Layer {
        media_type: "application/vnd.dev.sigstore.bundle+json;version=0.2",
        annotations: BTreeMap::new(),
        ..court.sign(Format::Bundle, &court.name("app:1"), image.digest)
    };
    attach(&court.registry, "app", Format::Bundle, &image, &[layer]).await;
    super::accepted(&court.judge(&court.ask("app:1")).await);
}

async fn refused() {
    let court = Court::open().await;
    let image = Image::new(&["a"]);
    image.push(&court.registry, "app", Some("1")).await;
    let place = place(&court);
    place.write("list.txt", court.name("app:1\n"));
    let host = court.registry.host();
    // "a:b" in base64.
    place.write(
        ".docker/config.json",
        format!(r#"{{"auths":{{"{host}":{{"auth":"YTpi"}}}}}}"#),
    );
    court.registry.rule(when("GET", "/v2/").respond(401));
    place
        .run("validate -f list.txt --key key.pub --report report.json")
        .await
        .with(4);
}
