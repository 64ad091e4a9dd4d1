//! Where nothing is signed, or nothing is called signed.

use consign::event::{Format, Kind, Side, Stage};
use consign::sign::{Claim, Formats};
use libtest_mimic::Trial;

use super::scripted::{both, subject};
use super::{ALL, Subject, added, key, only, process};
use crate::harness::trial;
use crate::registry::{Contents, Image, TestRegistry, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "sign::nothing_is_written_where_the_registry_does_not_say_what_is_there",
            throttled,
        ),
        trial(
            "sign::what_is_no_signature_manifest_is_left_under_its_tag",
            occupied,
        ),
        trial("sign::a_signature_that_does_not_stay_is_a_conflict", lost),
        trial(
            "sign::a_signature_that_is_spoiled_is_not_called_signed",
            spoiled,
        ),
        trial("sign::a_registry_that_lags_is_waited_for", lagging),
        trial("sign::what_nobody_could_read_is_not_signed", unreadable),
        trial("sign::secrets_are_not_in_failures", secrets),
    ]
}

async fn throttled() {
    for registry in both().await {
        let subject = subject(&registry).await;
        let before = Contents::of(&registry, "app").await;
        let key = key();
        let sig = format!("*/manifests/{}", subject.tag());
        let list = format!(
            "*/manifests/{}",
            subject.digest().to_string().replace(':', "-")
        );
        let everything = Formats::These(ALL.to_vec());
        for (path, formats) in [
            (sig.as_str(), &Formats::Usual),
            (&sig, &only(Format::Tag)),
            (&sig, &everything),
            (&list, &Formats::Usual),
            (&list, &only(Format::Referrer)),
            (&list, &only(Format::Bundle)),
            (&list, &everything),
            ("*/referrers/*", &Formats::Usual),
            ("*/referrers/*", &only(Format::Referrer)),
            ("*/referrers/*", &only(Format::Bundle)),
            ("*/referrers/*", &everything),
        ] {
            for (status, kind) in [
                (429, Kind::RateLimited),
                (503, Kind::Network),
                (403, Kind::Unauthorized),
            ] {
                registry.clear_log();
                let rule = registry.rule(when("GET", path).respond(status));
                let head = registry.rule(when("HEAD", path).respond(status));
                let signed = subject.sign_with(&process(None), &key, formats).await;
                registry.clear_rules();
                if rule.hits() + head.hits() == 0 {
                    // The fallback tag is not asked for where the API has answered.
                    assert!(path == list, "{path} was not asked for");
                    continue;
                }
                let failure = signed.expect_err("nothing is known");
                let expected = (Stage::Sign, Some(Side::Destination), kind);
                let is = (failure.stage, failure.side, failure.kind);
                assert_eq!(is, expected, "{path} {status}: {failure:#?}");
                let shown = subject.pinned().to_string();
                assert!(failure.causes[0].contains(&shown), "{failure:#?}");
                assert!(registry.writes().is_empty(), "{}", registry.log_text());
            }
        }
        assert_eq!(Contents::of(&registry, "app").await, before);
    }
}

async fn occupied() {
    let registry = TestRegistry::start().await;
    let image = Image::new(&["layer"])
        .push(&registry, "app", Some("1"))
        .await;
    let subject = Subject::new(&registry.host(), "app", &image);
    index(&registry, "app", Some(&subject.tag()), &[&image]).await;
    let before = Contents::of(&registry, "app").await;
    let formats = Formats::These(ALL.to_vec());
    let failure = subject.sign_with(&process(None), &key(), &formats).await;
    let failure = failure.expect_err("an index is no place for signatures");
    assert_eq!(failure.kind, Kind::Unsupported);
    assert!(failure.causes[1].contains(&subject.tag()), "{failure:#?}");
    assert!(failure.causes[1].contains("an index"), "{failure:#?}");
    assert_eq!(Contents::of(&registry, "app").await, before);
    // Unreadable: the same.
    let path = format!("*/manifests/{}", subject.tag());
    registry.rule(when("GET", &path).replace_body("{\"layers\": 7}"));
    let failure = subject.sign_with(&process(None), &key(), &formats).await;
    let failure = failure.expect_err("nobody can read it");
    assert!(
        failure.causes.join(": ").contains(&subject.tag()),
        "{failure:#?}"
    );
    assert_eq!(Contents::of(&registry, "app").await, before);
}

async fn lost() {
    let registry = TestRegistry::start().await;
    let subject = subject(&registry).await;
    let path = format!("*/manifests/{}", subject.tag());
    // It confirms what it does not keep.
    let place = "/v2/app/manifests/x";
    registry.rule(when("PUT", &path).respond(201).header("location", place));
    let failure = subject
        .sign_with(&process(None), &key(), &only(Format::Tag))
        .await;
    let failure = failure.expect_err("it is not there");
    assert_eq!(
        (failure.stage, failure.kind),
        (Stage::Sign, Kind::Conflict),
        "{failure:#?}"
    );
    for format in [Format::Referrer, Format::Bundle] {
        let rule = when("PUT", "*/manifests/sha256:*").respond(201);
        let listed = subject.digest().to_string();
        registry.rule(
            rule.header("location", place)
                .header("oci-subject", &listed),
        );
        let failure = subject
            .sign_with(&process(None), &key(), &only(format))
            .await;
        let failure = failure.expect_err("it is not there");
        assert_eq!(
            (failure.stage, failure.kind),
            (Stage::Sign, Kind::Conflict),
            "{failure:#?}"
        );
    }
}

async fn spoiled() {
    for format in ALL {
        let registry = TestRegistry::start().await;
        let subject = subject(&registry).await;
        registry.rule(when("GET", "*/blobs/*").corrupt_body());
        let failure = subject
            .sign_with(&process(None), &key(), &only(format))
            .await;
        let failure = failure.expect_err("the payload is not what was signed");
        assert_eq!(
            (failure.stage, failure.kind),
            (Stage::Sign, Kind::Integrity),
            "{failure:#?}"
        );
    }
}

async fn lagging() {
    for format in ALL {
        let registry = TestRegistry::start().await;
        let subject = subject(&registry).await;
        let rule = registry.rule(when("GET", "*/blobs/*").times(1).respond(404));
        let manifest = registry.rule(when("GET", "*/manifests/sha256:*").times(1).respond(404));
        let signed = subject
            .sign_with(&process(None), &key(), &only(format))
            .await;
        assert_eq!(added(signed), [(format, true)]);
        assert_eq!(rule.hits(), 1);
        assert_eq!(manifest.hits(), usize::from(format != Format::Tag));
    }
}

async fn unreadable() {
    let registry = TestRegistry::start().await;
    let subject = subject(&registry).await;
    registry.clear_log();
    let kind = async |subject: &Subject, claim: &Claim| {
        let what = (claim, &Formats::These(ALL.to_vec()));
        let failure = subject.sign_as(&process(None), &key(), what).await;
        let failure = failure.expect_err("nobody could read it");
        assert_eq!(failure.stage, Stage::Sign);
        failure.kind
    };
    let mut claim = subject.claim();
    claim
        .annotations
        .insert("long".to_owned(), "x".repeat(200_000));
    assert_eq!(kind(&subject, &claim).await, Kind::Unsupported);
    let mut claim = subject.claim();
    claim
        .annotations
        .insert("timestamp".to_owned(), "now".to_owned());
    assert_eq!(kind(&subject, &claim).await, Kind::Unsupported);
    let mut claim = subject.claim();
    "docker://app".clone_into(&mut claim.identity);
    assert_eq!(kind(&subject, &claim).await, Kind::Unsupported);
    let mut other = subject.clone();
    other.descriptor.digest = format!("sha512:{}", "a".repeat(128)).parse().expect("one");
    assert_eq!(kind(&other, &subject.claim()).await, Kind::Unsupported);
    assert!(registry.log().is_empty(), "{}", registry.log_text());
}

async fn secrets() {
    let registry = TestRegistry::start().await;
    let subject = subject(&registry).await;
    registry.rule(when("PUT", "*").respond(500));
    let failure = subject
        .sign_with(&process(None), &key(), &Formats::Usual)
        .await;
    let text = format!("{:?}", failure.expect_err("it is refused"));
    for word in ["PRIVATE", "BEGIN", "docker-reference"] {
        assert!(!text.contains(word), "{text}");
    }
}
