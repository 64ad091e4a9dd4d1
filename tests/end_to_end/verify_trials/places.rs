//! Where signatures are found, what that costs, and what stands there besides.

use consign::event::{Format, Role};
use consign::oci::{Digest, MediaType};
use consign::sigstore::COSIGN_SIGN_PREDICATE;
use consign::verify::{Search, Subjects};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{
    BUNDLE, Court, FORMATS, Layer, SIGNATURE, accepted, attach, map, nameless, put_manifest,
    rejected, sign, statement,
};
use crate::harness::trial;
use crate::registry::{Image, Pushed, Referrers, Settings, TestRegistry, artifact, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "verify::every_place_is_searched_and_says_what_was_found",
            every_place,
        ),
        trial("verify::two_requests_for_each_manifest", requests),
        trial(
            "verify::a_list_of_referrers_may_lie_about_types",
            lying_list,
        ),
        trial("verify::a_referrer_of_something_else_is_none", strangers),
        trial("verify::only_the_tag_where_podman_looks", only_one),
        trial("verify::annotations_must_all_match", annotations),
        trial(
            "verify::a_certificate_is_said_to_need_other_flags",
            certificate,
        ),
        trial(
            "verify::large_attestations_make_nothing_uncertain",
            attestations,
        ),
    ]
}

async fn image(court: &Court) -> Pushed {
    Image::new(&["a"])
        .push(&court.registry, "app", Some("1"))
        .await
}

async fn every_place() {
    let unknown = Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    };
    for settings in [Settings::default(), unknown] {
        for format in FORMATS {
            let court = Court::with(settings.clone()).await;
            let image = image(&court).await;
            let name = court.name("app:1");
            let layer = sign(&court.key, format, &name, image.digest, &[("build", "7")]);
            let manifest = court.attach(format, &image, &[layer]).await;
            if settings.referrers == Referrers::Unknown && format != Format::Tag {
                list(&court.registry, image.digest, &[manifest]).await;
            }
            let checked = court.judge(&court.ask("app:1")).await;
            accepted(&checked);
            assert!(checked.reasons.is_empty(), "{checked:#?}");
            assert_eq!(checked.digest, image.digest);
            assert_eq!(checked.role, Role::Platform(None));
            let evidence = checked.evidence.unwrap();
            assert_eq!(evidence.format, format);
            assert_eq!(evidence.by.key(), Some(court.key.public().id().as_str()));
            assert_eq!(evidence.identity, Some(name));
            assert!(evidence.identity_proven);
            assert_eq!(evidence.annotations, map(&[("build", "7")]));
        }
    }
}

/// The fallback tag of `subject`, with what go-containerregistry says of its entries.
async fn list(registry: &TestRegistry, subject: Digest, referrers: &[Digest]) {
    let entries: Vec<Value> = referrers
        .iter()
        .map(|digest| {
            json!({
                "mediaType": MediaType::OciManifest,
                "digest": digest,
                "size": 877,
                "artifactType": "application/vnd.oci.empty.v1+json",
            })
        })
        .collect();
    let list =
        json!({ "schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": entries });
    let tag = format!("sha256-{}", subject.hex());
    put_manifest(registry, "app", Some(&tag), &list).await;
}

async fn requests() {
    let court = Court::open().await;
    let mut children = Vec::new();
    for number in 0..40 {
        let image = Image::new(&[&number.to_string()]).on(&format!("linux/a{number}"));
        let image = image.push(&court.registry, "app", None).await;
        let layer = court.sign(Format::Tag, &court.name("app:1"), image.digest);
        court.attach(Format::Tag, &image, &[layer]).await;
        children.push(image);
    }
    let whole: Vec<&Pushed> = children.iter().collect();
    let root = index(&court.registry, "app", Some("1"), &whole).await;
    let layer = court.sign(Format::Tag, &court.name("app:1"), root.digest);
    court.attach(Format::Tag, &root, &[layer]).await;

    let validation = court.validate(&court.ask("app:1")).await.unwrap();
    assert!(validation.checked.len() == 40);
    validation.checked.iter().for_each(accepted);
    assert_eq!(
        court.requests(),
        1 + 2 * 40,
        "{}",
        court.registry.log_text()
    );
    // In the order of the index, though many are asked for at once.
    let order: Vec<Digest> = validation
        .checked
        .iter()
        .map(|checked| checked.digest)
        .collect();
    let expected: Vec<Digest> = children.iter().map(|child| child.digest).collect();
    assert_eq!(order, expected);

    court.registry.clear_log();
    let mut ask = court.ask("app:1");
    ask.subjects = Subjects::Index;
    let validation = court.validate(&ask).await.unwrap();
    assert_eq!(validation.checked.len(), 1);
    accepted(&validation.checked[0]);
    assert_eq!(validation.checked[0].role, Role::Index);
    assert_eq!(court.requests(), 1 + 2);

    court.registry.clear_log();
    ask.subjects = Subjects::All;
    let validation = court.validate(&ask).await.unwrap();
    assert_eq!(validation.checked.len(), 41);
    assert_eq!(validation.checked[0].role, Role::Index);
    validation.checked.iter().for_each(accepted);
    assert_eq!(court.requests(), 1 + 2 * 41);

    // By its digest too.
    court.registry.clear_log();
    let mut ask = court.ask("app");
    ask.image = court.name(&format!("app@{}", root.digest));
    let validation = court.validate(&ask).await.unwrap();
    validation.checked.iter().for_each(accepted);
    assert_eq!(court.requests(), 1 + 2 * 40);
}

async fn lying_list() {
    let court = Court::with(Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    })
    .await;
    let image = image(&court).await;
    let mut listed = Vec::new();
    for kind in ["a/sbom", "b/scan"] {
        let other = artifact(&court.registry, "app", kind, Some(&image), kind).await;
        listed.push(other.digest);
    }
    listed.push(Digest::sha256(b"listed and gone"));
    let layer = court.sign(Format::Bundle, &court.name("app:1"), image.digest);
    listed.push(court.attach(Format::Bundle, &image, &[layer]).await);
    list(&court.registry, image.digest, &listed).await;
    let checked = court.judge(&court.ask("app:1")).await;
    accepted(&checked);
    assert!(
        checked
            .reasons
            .concat()
            .contains("is listed, and is not there"),
        "{checked:#?}"
    );
}

async fn strangers() {
    let court = Court::with(Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    })
    .await;
    let image = image(&court).await;
    let other = Image::new(&["b"])
        .push(&court.registry, "app", Some("2"))
        .await;
    let name = court.name("app:1");
    for format in [Format::Referrer, Format::Bundle] {
        // Signs the image, and is attached to another one.
        let layer = court.sign(format, &name, image.digest);
        let stranger = attach(
            &court.registry,
            "app",
            format,
            &other,
            std::slice::from_ref(&layer),
        )
        .await;
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciManifest,
            "artifactType": BUNDLE,
            "config": { "mediaType": "a/b", "digest": Digest::sha256(b"{}"), "size": 2 },
            "layers": [layer.descriptor()],
        });
        let orphan = put_manifest(&court.registry, "app", None, &document).await;
        list(
            &court.registry,
            image.digest,
            &[stranger, orphan, image.digest],
        )
        .await;
        let checked = court.judge(&court.ask("app:1")).await;
        rejected(&checked, &format!("its subject is `{}`", other.digest));
        rejected(&checked, "has no subject");
        rejected(
            &checked,
            "A signature was required, but no signature exists",
        );
    }
    // An index under the tag of signatures has none.
    let court = Court::open().await;
    let image = self::image(&court).await;
    let document = json!({ "schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": [] });
    let tag = super::signature_tag(image.digest);
    put_manifest(&court.registry, "app", Some(&tag), &document).await;
    rejected(
        &court.judge(&court.ask("app:1")).await,
        "an index stands under the tag",
    );
}

async fn only_one() {
    for format in FORMATS {
        let court = Court::open().await;
        let image = image(&court).await;
        let layer = court.sign(format, &court.name("app:1"), image.digest);
        court.attach(format, &image, &[layer]).await;
        for searched in FORMATS {
            let mut ask = court.ask("app:1");
            ask.search = Search::Only(searched);
            court.registry.clear_log();
            let checked = court.judge(&ask).await;
            if searched == format {
                accepted(&checked);
            } else {
                rejected(&checked, "no signature exists");
            }
            let listings = court.registry.count("GET", "*/referrers/*");
            assert_eq!(listings > 0, searched != Format::Tag);
            let tags = court.registry.count("GET", "*.sig");
            assert_eq!(tags > 0, searched == Format::Tag);
        }
    }
}

async fn annotations() {
    for format in FORMATS {
        let court = Court::open().await;
        let image = image(&court).await;
        let said = [("tag", "1.2"), ("by", "ci")];
        let layer = sign(
            &court.key,
            format,
            &court.name("app:1"),
            image.digest,
            &said,
        );
        court.attach(format, &image, &[layer]).await;
        let with = async |wanted: &[(&str, &str)]| {
            let mut ask = court.ask("app:1");
            ask.annotations = map(wanted);
            court.judge(&ask).await
        };
        accepted(&with(&[]).await);
        accepted(&with(&[("tag", "1.2")]).await);
        accepted(&with(&said).await);
        rejected(
            &with(&[("by", "ci"), ("tag", "1.3")]).await,
            "annotation tag=1.3 is \"1.2\"",
        );
        rejected(
            &with(&[("by", "ci"), ("team", "a")]).await,
            "annotation team=a is missing",
        );
        rejected(&with(&[("tag", "")]).await, "annotation tag= is \"1.2\"");
    }
}

async fn certificate() {
    const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    for format in [Format::Tag, Format::Referrer] {
        let court = Court::open().await;
        let image = image(&court).await;
        let name = court.name("app:1");
        let foreign = sign(&court.other, format, &name, image.digest, &[]);
        let foreign = foreign.annotated(CERTIFICATE, "-----BEGIN CERTIFICATE-----");
        court
            .attach(format, &image, std::slice::from_ref(&foreign))
            .await;
        rejected(
            &court.judge(&court.ask("app:1")).await,
            "it carries a certificate: `--certificate-identity`",
        );
        // What one of the keys made is good, whatever it carries.
        let own = court.sign(format, &name, image.digest);
        let own = own.annotated(CERTIFICATE, "-----BEGIN CERTIFICATE-----");
        court.attach(format, &image, &[foreign, own]).await;
        accepted(&court.judge(&court.ask("app:1")).await);
    }
    let court = Court::open().await;
    let image = image(&court).await;
    let layer = court.sign(Format::Bundle, &court.name("app:1"), image.digest);
    let mut document: Value = serde_json::from_slice(&layer.bytes).unwrap();
    document["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AAAA" } });
    let keyless = Layer {
        bytes: document.to_string().into(),
        ..layer
    };
    court.attach(Format::Bundle, &image, &[keyless]).await;
    rejected(&court.judge(&court.ask("app:1")).await, "certificate");
    // Without its annotation there is no signature, and nothing to read.
    let mut bare = court.sign(Format::Tag, &court.name("app:1"), image.digest);
    bare.annotations.remove(SIGNATURE);
    court.attach(Format::Tag, &image, &[bare.clone()]).await;
    let reason = "missing dev.cosignproject.cosign/signature annotation";
    rejected(&court.judge(&court.ask("app:1")).await, reason);
    let odd = bare.annotated(SIGNATURE, "no base64!");
    court.attach(Format::Tag, &image, &[odd]).await;
    rejected(&court.judge(&court.ask("app:1")).await, "base64");
}

async fn attestations() {
    let court = Court::open().await;
    let image = image(&court).await;
    let spdx = "https://spdx.dev/Document";
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "artifactType": BUNDLE,
        "config": { "mediaType": "a/b", "digest": Digest::sha256(b"{}"), "size": 2 },
        "layers": [{ "mediaType": BUNDLE, "digest": Digest::sha256(b"big"), "size": 30 << 20 }],
        "annotations": { "dev.sigstore.bundle.predicateType": spdx },
        "subject": image.descriptor(),
    });
    put_manifest(&court.registry, "app", None, &document).await;
    rejected(&court.judge(&court.ask("app:1")).await, spdx);
    // One that calls itself a signature could be it.
    document["annotations"]["dev.sigstore.bundle.predicateType"] = json!(COSIGN_SIGN_PREDICATE);
    put_manifest(&court.registry, "app", None, &document).await;
    let checked = court.judge(&court.ask("app:1")).await;
    super::undetermined(
        &checked,
        consign::event::Kind::Unsupported,
        "31457280 bytes",
    );
    // An attestation by the same key signs nothing, whatever cosign 3 says of it.
    let court = Court::open().await;
    let image = self::image(&court).await;
    let mut ask = court.ask("app:1");
    ask.identity = consign::policy::SignedIdentity::DigestOnly;
    let attested = statement(&court.key, &nameless(image.digest, spdx));
    court.attach(Format::Bundle, &image, &[attested]).await;
    rejected(&court.judge(&ask).await, spdx);
    let signed = statement(&court.key, &nameless(image.digest, COSIGN_SIGN_PREDICATE));
    court.attach(Format::Bundle, &image, &[signed]).await;
    accepted(&court.judge(&ask).await);
}
