//! A registry that does not answer: nobody has seen that something is unsigned.

use std::time::Duration;

use consign::event::{Format, Kind};
use consign::oci::Digest;
use consign::verify;
use libtest_mimic::Trial;

use super::{
    Court, FORMATS, Layer, accepted, asking, blob_path, manifest_path, rejected, signature_tag,
    undetermined,
};
use crate::harness::trial;
use crate::registry::{Image, Pushed, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify::what_cannot_be_asked_is_undetermined", refusals),
        trial("verify::a_registry_that_stalls_is_undetermined", stalls),
        trial(
            "verify::a_login_page_does_not_say_that_nothing_is_signed",
            pages,
        ),
        trial("verify::a_payload_that_is_gone_is_an_answer", gone),
        trial("verify::the_image_itself_cannot_be_asked_for", no_image),
        trial(
            "verify::what_is_signed_already_is_not_known_by_half",
            by_half,
        ),
    ]
}

/// Every path that the search for a signature in `format` takes.
fn paths(format: Format, image: Digest, manifest: Digest, layer: &Layer) -> Vec<String> {
    let blob = blob_path(layer.digest());
    match format {
        Format::Tag => vec![manifest_path(&signature_tag(image)), blob],
        Format::Referrer | Format::Bundle => vec![
            manifest_path(&signature_tag(image)),
            format!("/v2/app/referrers/{image}"),
            manifest_path(&manifest),
            blob,
        ],
    }
}

async fn signed(court: &Court, format: Format) -> (Pushed, Digest, Layer) {
    let image = Image::new(&["a"])
        .push(&court.registry, "app", Some("1"))
        .await;
    // Right in all but its identity: a reason to reject, where everything answers.
    let layer = court.sign(format, "h.example/other:1", image.digest);
    let manifest = court
        .attach(format, &image, std::slice::from_ref(&layer))
        .await;
    (image, manifest, layer)
}

async fn refusals() {
    let statuses = [
        (429, Kind::RateLimited),
        (500, Kind::Network),
        (503, Kind::Network),
        (401, Kind::Unauthorized),
        (403, Kind::Unauthorized),
        (400, Kind::Refused),
    ];
    for format in FORMATS {
        for at in 0..if format == Format::Tag { 2 } else { 4 } {
            for (status, kind) in statuses {
                // Anew each time, for much is learned of a registry.
                let court = Court::open().await;
                let (image, manifest, layer) = signed(&court, format).await;
                let path = &paths(format, image.digest, manifest, &layer)[at];
                // A registry that refuses the listing with 400 has no such API, by its own word.
                if path.contains("/referrers/") && status == 400 {
                    continue;
                }
                let fault = when("GET", path).respond(status).error("SCRIPTED");
                let fault = court.registry.rule(fault);
                let checked = court.judge(&court.ask("app:1")).await;
                undetermined(&checked, kind, &status.to_string());
                assert!(fault.hits() > 0);
                // One that passes in another place is enough.
                let elsewhere = match format {
                    Format::Tag => Format::Bundle,
                    Format::Referrer | Format::Bundle if at == 0 => format,
                    Format::Referrer | Format::Bundle => Format::Tag,
                };
                let good = court.sign(elsewhere, &court.name("app:1"), image.digest);
                court.attach(elsewhere, &image, &[good]).await;
                accepted(&court.judge(&court.ask("app:1")).await);
            }
        }
    }
}

async fn stalls() {
    for format in FORMATS {
        let mut court = Court::open().await;
        court.attached = asking(Duration::from_millis(100));
        let (image, manifest, layer) = signed(&court, format).await;
        for path in paths(format, image.digest, manifest, &layer) {
            let stalled = court.registry.rule(when("GET", &path).stall());
            let checked = court.judge(&court.ask("app:1")).await;
            undetermined(&checked, Kind::Timeout, "no progress");
            stalled.release();
            court.registry.clear_rules();
            court.registry.rule(when("GET", &path).hang_up());
            let checked = court.judge(&court.ask("app:1")).await;
            undetermined(&checked, Kind::Network, "got no answer");
            court.registry.clear_rules();
        }
    }
}

/// A proxy that wants a login, or a registry's front page, in place of every answer that is looked for.
async fn pages() {
    for format in FORMATS {
        for is_moved in [false, true] {
            for at in 0..if format == Format::Tag { 2 } else { 4 } {
                let court = Court::open().await;
                let (image, manifest, layer) = signed(&court, format).await;
                let path = &paths(format, image.digest, manifest, &layer)[at];
                let served = if is_moved {
                    let moved = when("*", path).respond(302);
                    court.registry.rule(moved.header("location", "/login"));
                    "/login"
                } else {
                    path.as_str()
                };
                let page = when("*", served).respond(200);
                let page = page.header("content-type", "text/html; charset=utf-8");
                let page = page.body("<html><body>please log in</body></html>");
                let page = court.registry.rule(page);
                let checked = court.judge(&court.ask("app:1")).await;
                undetermined(&checked, Kind::Refused, "a page for people");
                assert!(page.hits() > 0, "{path}");
            }
        }
    }
    // The list of tags, and all there is.
    let court = Court::open().await;
    signed(&court, Format::Tag).await;
    let page = when("*", "*").respond(200);
    let page = page.header("content-type", "text/html");
    court.registry.rule(page.body("<html></html>"));
    let failure = court.validate(&court.ask("app:1")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Refused, "{failure:?}");
}

async fn gone() {
    for format in FORMATS {
        let court = Court::open().await;
        let image = Image::new(&["a"])
            .push(&court.registry, "app", Some("1"))
            .await;
        let layer = Layer {
            is_there: false,
            ..court.sign(format, &court.name("app:1"), image.digest)
        };
        court.attach(format, &image, &[layer]).await;
        rejected(&court.judge(&court.ask("app:1")).await, "is not there");
    }
}

async fn no_image() {
    let court = Court::open().await;
    let (image, ..) = signed(&court, Format::Tag).await;
    for (status, kind) in [
        (404, Kind::NotFound),
        (429, Kind::RateLimited),
        (502, Kind::Network),
        (403, Kind::Unauthorized),
    ] {
        let path = manifest_path(&"1");
        court
            .registry
            .rule(when("GET", &path).respond(status).error("SCRIPTED"));
        let failure = court.validate(&court.ask("app:1")).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert_eq!(failure.stage, consign::event::Stage::Verify);
        court.registry.clear_rules();
    }
    let failure = court.validate(&court.ask("app:2")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::NotFound, "{failure:?}");
    // One that only some platforms are wanted of, and whose config is not to be had.
    let mut ask = court.ask("app:1");
    ask.selection =
        consign::oci::PlatformSelection::of_platforms(&["linux/amd64".parse().unwrap()]);
    court
        .registry
        .rule(when("GET", &blob_path(image.blobs[0])).respond(503));
    let failure = court.validate(&ask).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Network, "{failure:?}");
}

/// Whoever asks what is signed already is told everything or that it cannot be known.
async fn by_half() {
    for format in FORMATS {
        let court = Court::open().await;
        let (image, manifest, layer) = signed(&court, format).await;
        let pinned = consign::oci::Pinned {
            repository: court
                .name("app")
                .parse::<consign::oci::Reference>()
                .unwrap()
                .repository,
            digest: image.digest,
        };
        let keys = consign::sigstore::Signers::Keys(vec![court.key.public().clone()]);
        let ask = async || verify::signatures(&court.attached, &pinned, &keys, format).await;
        let found = ask().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].identity.as_deref(), Some("h.example/other:1"));
        assert_eq!(found[0].format, format);
        assert!(!found[0].identity_proven);
        for other in FORMATS.into_iter().filter(|other| *other != format) {
            let found = verify::signatures(&court.attached, &pinned, &keys, other).await;
            assert_eq!(found.unwrap(), []);
        }
        let others = consign::sigstore::Signers::Keys(vec![court.other.public().clone()]);
        let found = verify::signatures(&court.attached, &pinned, &others, format).await;
        assert_eq!(found.unwrap(), []);
        let places = paths(format, image.digest, manifest, &layer);
        for path in places.iter().skip(usize::from(format != Format::Tag)) {
            court.registry.rule(when("GET", path).respond(429));
            assert_eq!(ask().await.unwrap_err().kind, Kind::RateLimited, "{path}");
            court.registry.clear_rules();
        }
        // What nobody here can have signed holds up nothing.
        let huge = Layer {
            size: Some(8 << 30),
            ..layer.clone()
        };
        court.attach(format, &image, &[huge, layer]).await;
        assert!(!ask().await.unwrap().is_empty());
    }
}
