//! What is wrong in one point is rejected for that point, wherever it is; what differs from it in that point
//! alone is accepted.

use consign::event::Format;
use libtest_mimic::Trial;

use super::stage::{PATHS, Stage, in_order};
use crate::harness::trial;
use crate::instance::{Flaw, Form, Instance, JOB, Signer};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for signer in [Signer::Certificate, Signer::Key] {
        for path in PATHS {
            let name = format!(
                "keyless::each_flaw_of_a_signature_is_its_own_reason_{signer:?}_{:?}_{:?}",
                path.0, path.1
            );
            trials.push(trial(&name.to_lowercase(), move || each_flaw(signer, path)));
        }
    }
    trials.push(trial(
        "keyless::who_is_named_second_in_a_certificate_has_not_signed",
        second_name,
    ));
    trials.push(trial(
        "keyless::another_instances_root_is_named_as_the_reason",
        other_root,
    ));
    trials.push(trial(
        "keyless::a_key_without_a_log_is_told_that_one_is_demanded",
        no_log,
    ));
    trials
}

/// Who forgets `--trusted-root`, or gives another's, reads of it, and by which name it was found.
async fn other_root() {
    let stage = Stage::new().await;
    stage
        .place
        .write("other.json", Instance::new().trusted_root().to_string());
    for path in PATHS {
        let name = format!("{:?}-{:?}", path.0, path.1).to_lowercase();
        let signer = Signer::Certificate;
        let images = [stage.signed_image(&name, path, signer, None).await];
        let own = format!("--trusted-root {}", stage.files.trusted_root.display());
        let known = stage.known(signer, path.1);
        for (root, called) in [
            ("", "the public instance's, of "),
            ("--trusted-root other.json", "`other.json`"),
        ] {
            let ended = stage.validate(&known.replace(&own, root), &images).await;
            let said = format!("the trusted root ({called}");
            ended.with(3).saying(&[&said, "another instance"]);
        }
    }
}

/// A key's signature that no log has, where one is named.
async fn no_log() {
    let stage = Stage::new().await;
    for path in PATHS {
        let name = format!("{:?}-{:?}", path.0, path.1).to_lowercase();
        let (signer, flaw) = (Signer::Key, Some(Flaw::NoEntry));
        let images = [stage.signed_image(&name, path, signer, flaw).await];
        let ended = stage.validate(&stage.known(signer, path.1), &images).await;
        ended.with(3).saying(&["transparency log", "is demanded"]);
    }
}

/// Whether it is taken although it is named a flaw.
fn is_taken(flaw: Flaw, signer: Signer, form: Form) -> bool {
    // A key does not expire: that the log has the signature is proven without a time.
    let needs_no_time = flaw == Flaw::NoSet && signer == Signer::Key && form.has_proof();
    // The first name is the one that is wanted.
    needs_no_time || flaw == Flaw::TwoNames
}

async fn each_flaw(signer: Signer, path: (Format, Form)) {
    let stage = Stage::new().await;
    let form = path.1;
    let good = stage.signed_image("good", path, signer, None).await;
    let flaws = Flaw::all(signer, form);
    let flaws = flaws.into_iter();
    let (taken, flaws): (Vec<Flaw>, Vec<Flaw>) =
        flaws.partition(|flaw| is_taken(*flaw, signer, form));
    let mut good = vec![good];
    for flaw in taken {
        let name = format!("{flaw:?}").to_lowercase();
        good.push(stage.signed_image(&name, path, signer, Some(flaw)).await);
    }
    let known = stage.known(signer, form);
    stage.validate(&known, &good).await.with(0);
    let mut images = Vec::new();
    for flaw in &flaws {
        let name = format!("{flaw:?}").to_lowercase();
        images.push(stage.signed_image(&name, path, signer, Some(*flaw)).await);
    }
    let results = stage.validate(&known, &images).await.with(3).json_lines();
    assert_eq!(results.len(), flaws.len());
    for (flaw, result) in flaws.iter().zip(in_order(results)) {
        let words = reason(*flaw, signer, form);
        assert_eq!(result["outcome"], "rejected", "{flaw:?}: {result}");
        let reasons = result["validation"]["manifests"][0]["reasons"].to_string();
        assert!(
            reasons.contains(words),
            "{flaw:?} is not `{words}`: {result}"
        );
    }
}

/// What is said of a flaw: by us, or by the verifier.
fn reason(flaw: Flaw, signer: Signer, form: Form) -> &'static str {
    if (flaw, signer) == (Flaw::OtherBytes, Signer::Key) {
        return "cryptographic signature verification failed";
    }
    let is_simple = form == Form::Simple;
    let own = OWN.iter().find(|(own, is_of, _)| {
        *own == flaw && is_of.is_none_or(|is_of_simple| is_of_simple == is_simple)
    });
    let (_, _, words) = own.copied().unwrap_or_else(|| {
        let words = flaw.refusal(signer, form);
        (flaw, None, words.expect("the verifier refuses it"))
    });
    words
}

/// What is said here in other words than by the verifier: always, of annotations alone, or of bundles alone.
const OWN: &[(Flaw, Option<bool>, &str)] = &[
    (
        Flaw::ExpiredIntermediate,
        None,
        "was not vouched for at 2025-06-15T00:00:10Z: a certificate had ended (CertExpired)",
    ),
    // The root signed it, and it came along; a trusted root names all that are trusted.
    (
        Flaw::UnknownIntermediate,
        None,
        "nobody who is trusted issued it (UnknownIssuer)",
    ),
    (Flaw::ManyTimestamps, None, "it brings 1000 timestamps"),
    (Flaw::ManyEntries, None, "it brings 1000 log entries"),
    (
        Flaw::NamedInComment,
        None,
        "its certificate names `other@instance.test`, vouched for by",
    ),
    (
        Flaw::NamedInSubject,
        None,
        "its certificate names `other@instance.test`, vouched for by",
    ),
    (Flaw::NamedInOtherName, None, "its certificate names nobody"),
    (Flaw::NoIssuer, None, "vouched for by ``, and the issuer"),
    (
        Flaw::NoEntry,
        Some(true),
        "missing dev.sigstore.cosign/bundle annotation",
    ),
    (
        Flaw::NoEntry,
        Some(false),
        "it has no entry of a transparency log",
    ),
    (
        Flaw::NoSet,
        Some(true),
        "the log's promise (`SignedEntryTimestamp`) is missing",
    ),
];

/// A certificate may name two. Whoever is named second has not signed.
async fn second_name() {
    let stage = Stage::new().await;
    for path in PATHS {
        let name = format!("{:?}-{:?}", path.0, path.1).to_lowercase();
        let flaw = Some(Flaw::TwoNames);
        let signer = Signer::Certificate;
        let images = [stage.signed_image(&name, path, signer, flaw).await];
        let first = stage.known(signer, path.1);
        stage.validate(&first, &images).await.with(0);
        let second = first.replace(JOB, "other@instance.test");
        let words = format!("its certificate names `{JOB}`");
        let ended = stage.validate(&second, &images).await;
        ended
            .with(3)
            .saying(&[&words, "`other@instance.test` is wanted"]);
    }
}
