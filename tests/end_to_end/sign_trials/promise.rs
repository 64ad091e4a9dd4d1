//! Only digests are signed, and only those that were resolved or written; what was judged is what is copied.

use std::collections::BTreeSet;

use consign::attached::TagKind;
use consign::oci::Digest;
use libtest_mimic::Trial;

use crate::harness::trial;
use crate::program::{Ended, Workplace, outcomes};
use crate::registry::{Active, Contents, Image, Pushed, TestRegistry, attestation, index, when};

const TAG_PATH: &str = "/v2/team/app/manifests/1";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("promises::only_digests_are_signed", only_digests_are_signed),
        trial(
            "sign::what_a_mirror_run_signs_is_signed_before_the_tag_is_set",
            before_the_tag,
        ),
        trial("mirror::what_was_judged_is_what_is_copied", judged),
    ]
}

/// A place with a pair of keys, whose passphrase is empty.
async fn place() -> Workplace {
    let place = Workplace::new();
    place.write("passphrase", "");
    let made = "generate-key --prefix site --passphrase-file passphrase";
    place.run(made).await.with(0);
    place.write("list.txt", "team/app:1\n");
    place
}

/// An index of two platforms and an attestation, under the tag `1`.
async fn image(registry: &TestRegistry, text: &'static str) -> (Pushed, BTreeSet<Digest>) {
    let amd = Image::new(&[text]).push(registry, "team/app", None).await;
    let arm = Image::new(&[text, "arm"]).on("linux/arm64");
    let arm = arm.push(registry, "team/app", None).await;
    let attested = attestation(registry, "team/app", &amd).await;
    let all = index(registry, "team/app", Some("1"), &[&amd, &arm, &attested]).await;
    let digests = [&amd, &arm, &attested, &all].map(|pushed| pushed.digest);
    (all, digests.into())
}

/// The digests that have signatures.
async fn signed(registry: &TestRegistry) -> BTreeSet<Digest> {
    let contents = Contents::of(registry, "team/app").await;
    let known = contents.manifests.keys().copied();
    let has = |digest: &Digest| {
        let tag = TagKind::Signature.of(digest).to_string();
        contents.tags.contains_key(&tag)
    };
    known.filter(has).collect()
}

/// Runs the program, and moves the tag `1` of `registry` once `asked` was reached.
async fn while_it_moves(
    place: &Workplace,
    arguments: &str,
    registry: &TestRegistry,
    asked: &Active,
) -> Ended {
    let moves = async {
        asked.hit(1).await;
        image(registry, "moved").await;
        asked.release();
    };
    let (ended, ()) = tokio::join!(place.run(arguments), moves);
    ended
}

async fn only_digests_are_signed() {
    let registry = TestRegistry::start().await;
    let place = place().await;
    let (planned, digests) = image(&registry, "planned").await;
    // The first question about a signature comes when the tag was resolved.
    let asked = registry.rule(when("*", "*.sig").stall());
    let sign = format!(
        "sign -f list.txt --registry {} --key site.key --passphrase-file passphrase --report report.json",
        registry.host()
    );
    while_it_moves(&place, &sign, &registry, &asked)
        .await
        .with(0);
    assert_eq!(signed(&registry).await, digests);
    let report = place.json("report.json");
    assert_eq!(report["lines"][0]["digest"], planned.digest.to_string());
    let tag = registry.requests("*", TAG_PATH);
    let asked: Vec<_> = tag.iter().filter(|one| one.method != "PUT").collect();
    assert_eq!(asked.len(), 1, "{}", registry.log_text());
}

async fn before_the_tag() {
    let source = TestRegistry::start().await;
    let destination = TestRegistry::start().await;
    let place = place().await;
    let (planned, digests) = image(&source, "planned").await;
    let mirror = format!(
        "mirror -f list.txt -s {} -d {} --sign-key site.key --passphrase-file passphrase",
        source.host(),
        destination.host()
    );
    // A registry that takes no signature keeps its tag unset.
    destination.rule(when("PUT", "*.sig").answer_with(403));
    place.run(&mirror).await.with(1);
    assert_eq!(destination.tag("team/app", "1"), None);
    destination.clear_rules();
    place.run(&mirror).await.with(0);
    assert_eq!(destination.tag("team/app", "1"), Some(planned.digest));
    assert_eq!(signed(&destination).await, digests);
    let last = destination.writes().pop().expect("something was written");
    assert!(last.is("PUT", TAG_PATH), "{}", destination.log_text());
    // An image that is there and lost its signatures gets them again.
    destination.clear_log();
    place.run(&mirror).await.with(0);
    assert_eq!(destination.writes().len(), 0, "{}", destination.log_text());
}

async fn judged() {
    let source = TestRegistry::start().await;
    let destination = TestRegistry::start().await;
    let place = place().await;
    let (planned, _) = image(&source, "planned").await;
    let from = source.host();
    let sign =
        format!("sign -f list.txt --registry {from} --key site.key --passphrase-file passphrase");
    place.run(&sign).await.with(0);
    // The tag moves to an unsigned image once the signed one is being judged.
    let asked = source.rule(when("*", "*.sig").stall());
    let mirror = format!(
        "mirror -f list.txt -s {from} -d {} --verify-key site.pub --report report.json",
        destination.host()
    );
    while_it_moves(&place, &mirror, &source, &asked)
        .await
        .with(0);
    assert_eq!(destination.tag("team/app", "1"), Some(planned.digest));
    // What it is now is refused, and what was copied stays.
    place.run(&mirror).await.with(3);
    assert_eq!(outcomes(&place.json("report.json")), ["rejected"]);
    assert_eq!(destination.tag("team/app", "1"), Some(planned.digest));
}
