//! What is no signature of this image by this key: each with its own reason, in each format.

use consign::event::{Format, Kind, Verdict};
use consign::limits::signature::SIGNATURES_MAX;
use consign::oci::{Digest, MediaType};
use consign::sigstore::COSIGN_SIGN_PREDICATE;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{
    Court, FORMATS, Layer, SIGNATURE, accepted, blob_path, bundle, manifest_path, nameless,
    put_manifest, rejected, sign, simple, statement, undetermined,
};
use crate::harness::trial;
use crate::registry::{Image, Pushed, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify::nothing_there_is_rejected", unsigned),
        trial(
            "verify::one_platform_without_a_signature_is_named",
            one_platform,
        ),
        trial("verify::each_forgery_has_its_own_reason", forgeries),
        trial("verify::a_payload_is_read_strictly", strict),
        trial("verify::too_much_is_undetermined", too_much),
        trial(
            "verify::bytes_that_are_not_what_they_are_called_are_undetermined",
            wrong_bytes,
        ),
        trial("verify::a_bad_signature_never_shadows_a_good_one", shadows),
        trial("verify::many_bad_signatures_make_few_reasons", many),
        trial(
            "verify::subjects_without_number_are_read_once_signed_alone",
            many_subjects,
        ),
    ]
}

/// Makes a layer for the image with this digest.
type Forge<'a> = &'a (dyn Fn(&Court, Digest) -> Layer + Sync);

const NONE: &str = "A signature was required, but no signature exists";
const CRYPTO: &str = "cryptographic signature verification failed";

async fn image(court: &Court) -> Pushed {
    Image::new(&["a"])
        .push(&court.registry, "app", Some("1"))
        .await
}

async fn unsigned() {
    let court = Court::open().await;
    image(&court).await;
    let checked = court.judge(&court.ask("app:1")).await;
    rejected(&checked, NONE);
    assert_eq!(checked.reasons, [NONE]);
    assert_eq!(checked.hint, None);
    // Something that is no signature stands there: it is counted, and is none.
    for format in FORMATS {
        let court = Court::open().await;
        let image = image(&court).await;
        let other = Layer {
            media_type: "application/octet-stream",
            ..court.sign(Format::Tag, &court.name("app:1"), image.digest)
        };
        court.attach(format, &image, &[other]).await;
        let checked = court.judge(&court.ask("app:1")).await;
        rejected(&checked, NONE);
        let is_counted = checked
            .reasons
            .concat()
            .contains("(0 non-sigstore signatures, 1 sigstore non-signature attachments)");
        assert_eq!(is_counted, format == Format::Tag, "{checked:#?}");
    }
}

async fn one_platform() {
    for format in FORMATS {
        let court = Court::open().await;
        let on = async |platform: &str| {
            let image = Image::new(&[platform]).on(platform);
            image.push(&court.registry, "app", None).await
        };
        let (amd, arm) = (on("linux/amd64").await, on("linux/arm64").await);
        index(&court.registry, "app", Some("1"), &[&amd, &arm]).await;
        let layer = court.sign(format, &court.name("app:1"), amd.digest);
        court.attach(format, &amd, &[layer]).await;
        let validation = court.validate(&court.ask("app:1")).await.unwrap();
        let [first, second] = validation.checked.as_slice() else {
            panic!("{validation:#?}");
        };
        accepted(first);
        assert_eq!(first.digest, amd.digest);
        rejected(second, NONE);
        assert_eq!(second.digest, arm.digest);
    }
}

async fn forgeries() {
    for format in FORMATS {
        let moved = Digest::sha256(b"another image");
        let cases: [(&str, Forge<'_>, String); 5] = [
            (
                "wrong key",
                &|court, digest| sign(&court.other, format, &court.name("app:1"), digest, &[]),
                format!("{CRYPTO}; none of the keys that are accepted made it"),
            ),
            (
                "wrong identity",
                &|court, digest| court.sign(format, "h.example/other:1", digest),
                "Signature for identity \"h.example/other:1\" is not accepted".to_owned(),
            ),
            (
                "moved from another image",
                &|court, _| court.sign(format, &court.name("app:1"), moved),
                format!("Signature for digest {moved} does not match"),
            ),
            (
                "tampered payload",
                &|court, digest| match format {
                    Format::Tag | Format::Referrer => court
                        .sign(format, &court.name("app:2"), digest)
                        .tampered("app:2", "app:1"),
                    Format::Bundle => tampered_bundle(court, digest),
                },
                CRYPTO.to_owned(),
            ),
            (
                "a predicate, or type, of something else",
                &|court, digest| match format {
                    Format::Tag | Format::Referrer => {
                        let genuine = court.sign(format, &court.name("app:1"), digest);
                        let other = genuine.tampered("cosign container image", "atomic container");
                        simple(&court.key, other.bytes)
                    }
                    Format::Bundle => {
                        statement(&court.key, &nameless(digest, "https://spdx.dev/Document"))
                    }
                },
                match format {
                    Format::Tag | Format::Referrer => "Unrecognized signature type".to_owned(),
                    Format::Bundle => "predicate `https://spdx.dev/Document`".to_owned(),
                },
            ),
        ];
        for (what, forge, reason) in cases {
            let court = Court::open().await;
            let image = image(&court).await;
            let layer = forge(&court, image.digest);
            let referrer = court.attach(format, &image, &[layer]).await;
            let checked = court.judge(&court.ask("app:1")).await;
            assert_eq!(checked.verdict, Verdict::Rejected, "{what}: {checked:#?}");
            rejected(&checked, &reason);
            // The words under the tag are those of containers/image; elsewhere they say where.
            let says_where = checked
                .reasons
                .concat()
                .contains(&format!("referrer {referrer}: "));
            assert_eq!(says_where, format != Format::Tag, "{what}: {checked:#?}");
        }
    }
}

/// The envelope of one statement with the signature of another one.
fn tampered_bundle(court: &Court, digest: Digest) -> Layer {
    let parts = |layer: &Layer| serde_json::from_slice::<Value>(&layer.bytes).unwrap();
    let signed = court.sign(Format::Bundle, &court.name("app:2"), digest);
    let wanted = court.sign(Format::Bundle, &court.name("app:1"), digest);
    let mut document = parts(&signed);
    document["dsseEnvelope"]["payload"] = parts(&wanted)["dsseEnvelope"]["payload"].clone();
    bundle(document.to_string())
}

/// What parses differently for different readers is rejected, though the key signed it.
async fn strict() {
    for format in FORMATS {
        let tail = |court: &Court, digest: Digest, add: &str| match format {
            Format::Tag | Format::Referrer => {
                let genuine = court.sign(format, &court.name("app:1"), digest);
                simple(&court.key, [&genuine.bytes[..], add.as_bytes()].concat())
            }
            Format::Bundle => {
                let text = nameless(digest, COSIGN_SIGN_PREDICATE);
                statement(&court.key, &format!("{text}{add}"))
            }
        };
        let twice = |court: &Court, digest: Digest| match format {
            Format::Tag | Format::Referrer => {
                let genuine = court.sign(format, &court.name("app:1"), digest);
                let other = format!(
                    "\"docker-manifest-digest\":\"{}\",",
                    Digest::sha256(b"other")
                );
                let from = "\"docker-manifest-digest\":";
                simple(
                    &court.key,
                    genuine.tampered(from, &format!("{other}{from}")).bytes,
                )
            }
            Format::Bundle => {
                let from = "\"predicateType\":";
                let other = "\"predicateType\":\"https://spdx.dev/Document\",";
                let text = nameless(digest, COSIGN_SIGN_PREDICATE);
                statement(
                    &court.key,
                    &text.replacen(from, &format!("{other}{from}"), 1),
                )
            }
        };
        let cases: [(&str, Forge<'_>); 3] = [
            ("trailing bytes", &|court, digest| tail(court, digest, "x")),
            ("a second document", &|court, digest| {
                tail(court, digest, "{}")
            }),
            ("duplicate keys", &twice),
        ];
        for (what, forge) in cases {
            let court = Court::open().await;
            let image = image(&court).await;
            court
                .attach(format, &image, &[forge(&court, image.digest)])
                .await;
            let mut ask = court.ask("app:1");
            // So that nothing but the form can be the reason.
            ask.identity = consign::policy::SignedIdentity::DigestOnly;
            let checked = court.judge(&ask).await;
            assert_eq!(
                checked.verdict,
                Verdict::Rejected,
                "{format:?} {what}: {checked:#?}"
            );
            let said = checked.reasons.concat();
            assert!(
                !said.contains(CRYPTO) && !said.contains(NONE),
                "{format:?} {what}: {said}"
            );
            if what == "duplicate keys" {
                assert!(
                    said.to_lowercase().contains("duplicate"),
                    "{format:?} {said}"
                );
            }
        }
    }
}

async fn too_much() {
    for format in FORMATS {
        // 10,000 in one manifest; the good one is not looked for among them, but elsewhere it is.
        let court = Court::open().await;
        let image = image(&court).await;
        let good = court.sign(format, &court.name("app:1"), image.digest);
        let mut bad = good.clone();
        bad.annotations.remove(SIGNATURE);
        bad.bytes = "x".into();
        let mut layers = vec![bad; SIGNATURES_MAX - 1];
        layers.push(good);
        court.attach(format, &image, &layers).await;
        let checked = court.judge(&court.ask("app:1")).await;
        undetermined(
            &checked,
            Kind::Unsupported,
            "it has 10000 signatures or more",
        );
        assert_eq!(court.registry.count("GET", "*/blobs/*"), 0);

        // 8 GiB: not one byte of it is read.
        let court = Court::open().await;
        let image = self::image(&court).await;
        let huge = Layer {
            size: Some(8 << 30),
            ..court.sign(format, &court.name("app:1"), image.digest)
        };
        court.attach(format, &image, &[huge]).await;
        let checked = court.judge(&court.ask("app:1")).await;
        undetermined(
            &checked,
            Kind::Unsupported,
            "declared with 8589934592 bytes",
        );
        assert_eq!(court.registry.count("GET", "*/blobs/*"), 0);
    }
    // 10,000 referrers, none of which is there.
    let court = Court::open().await;
    let image = image(&court).await;
    let entries: Vec<Value> = (0..SIGNATURES_MAX)
        .map(|number| {
            json!({
                "mediaType": MediaType::OciManifest,
                "digest": Digest::sha256(number.to_string().as_bytes()),
                "size": 1000,
            })
        })
        .collect();
    let list =
        json!({ "schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": entries });
    let tag = format!("sha256-{}", image.digest.hex());
    put_manifest(&court.registry, "app", Some(&tag), &list).await;
    let checked = court.judge(&court.ask("app:1")).await;
    undetermined(&checked, Kind::Unsupported, "10000 referrers");
    assert!(court.requests() <= 4, "{}", court.registry.log_text());
    // What is in another place wins.
    let layer = court.sign(Format::Tag, &court.name("app:1"), image.digest);
    court.attach(Format::Tag, &image, &[layer]).await;
    accepted(&court.judge(&court.ask("app:1")).await);
}

async fn wrong_bytes() {
    for format in FORMATS {
        let court = Court::open().await;
        let image = image(&court).await;
        let layer = court.sign(format, &court.name("app:1"), image.digest);
        let manifest = court
            .attach(format, &image, std::slice::from_ref(&layer))
            .await;
        court
            .registry
            .rule(when("GET", &blob_path(layer.digest())).corrupt_body());
        let checked = court.judge(&court.ask("app:1")).await;
        undetermined(&checked, Kind::Integrity, "wrong bytes");
        court.registry.clear_rules();
        // A size that is not that of the bytes.
        let size = Some(u64::try_from(layer.bytes.len() + 1).unwrap());
        let longer = Layer {
            size,
            ..layer.clone()
        };
        let court_of_sizes = Court::open().await;
        let image = self::image(&court_of_sizes).await;
        court_of_sizes.attach(format, &image, &[longer]).await;
        let checked = court_of_sizes.judge(&court_of_sizes.ask("app:1")).await;
        undetermined(&checked, Kind::Integrity, "wrong bytes");
        // The manifest of a referrer is asked for by its digest, and is another one.
        if format != Format::Tag {
            let lie = when("GET", &manifest_path(&manifest));
            court
                .registry
                .rule(lie.replace_body(r#"{"schemaVersion":2,"layers":[]}"#));
            let checked = court.judge(&court.ask("app:1")).await;
            undetermined(&checked, Kind::Integrity, "wrong bytes");
        }
    }
}

async fn shadows() {
    for good_format in FORMATS {
        for bad_format in FORMATS {
            let court = Court::open().await;
            let image = image(&court).await;
            let name = court.name("app:1");
            let good = court.sign(good_format, &name, image.digest);
            let mut bad = vec![
                sign(&court.other, bad_format, &name, image.digest, &[]),
                court.sign(bad_format, "h.example/other:1", image.digest),
                Layer {
                    is_there: false,
                    ..court.sign(bad_format, &court.name("gone"), image.digest)
                },
                Layer {
                    bytes: "{".into(),
                    ..court.sign(bad_format, &name, image.digest)
                },
                Layer {
                    bytes: "".into(),
                    ..court.sign(bad_format, &name, image.digest)
                },
                Layer {
                    size: Some(8 << 30),
                    ..court.sign(bad_format, &name, image.digest)
                },
                Layer {
                    media_type: "a/b",
                    ..court.sign(bad_format, &name, image.digest)
                },
            ];
            if good_format == bad_format {
                bad.push(good);
            } else {
                court.attach(good_format, &image, &[good]).await;
            }
            court.attach(bad_format, &image, &bad).await;
            let checked = court.judge(&court.ask("app:1")).await;
            assert_eq!(
                checked.verdict,
                Verdict::Accepted,
                "{good_format:?} {bad_format:?} {checked:#?}"
            );
            accepted(&checked);
            assert_eq!(checked.evidence.unwrap().format, good_format);
        }
    }
}

async fn many() {
    let court = Court::open().await;
    let image = image(&court).await;
    let name = court.name("app:1");
    let bad: Vec<Layer> = (0..500)
        .map(|_| sign(&court.other, Format::Tag, &name, image.digest, &[]))
        .collect();
    court.attach(Format::Tag, &image, &bad).await;
    let checked = court.judge(&court.ask("app:1")).await;
    rejected(&checked, "… and 480 more");
    assert_eq!(checked.reasons.len(), 21);
    // All of them sign one payload, which is read once.
    assert_eq!(court.registry.count("GET", "*/blobs/*"), 1);
}

/// CVE-2024-45395: a statement of 20,000 subjects. Whoever is not trusted has none of them read; of whoever is,
/// the one that is meant counts, wherever it stands.
async fn many_subjects() {
    let court = Court::open().await;
    let image = image(&court).await;
    let one = nameless(image.digest, COSIGN_SIGN_PREDICATE);
    let mut document: Value = serde_json::from_str(&one).unwrap();
    let other = |n: u32| json!({ "digest": { "sha256": Digest::sha256(&n.to_be_bytes()).hex() } });
    let subjects = document["subject"].as_array_mut().unwrap();
    subjects.extend((0..20_000).map(other));
    subjects.rotate_left(1);
    let many = document.to_string();
    let mut ask = court.ask("app:1");
    ask.identity = consign::policy::SignedIdentity::DigestOnly;
    let theirs = statement(&court.other, &many);
    court.attach(Format::Bundle, &image, &[theirs]).await;
    rejected(&court.judge(&ask).await, CRYPTO);
    let ours = statement(&court.key, &many);
    court.attach(Format::Bundle, &image, &[ours]).await;
    accepted(&court.judge(&ask).await);
}
