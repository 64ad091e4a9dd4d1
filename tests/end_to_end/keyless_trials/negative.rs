//! What is wrong in one point is rejected for that point, wherever it is; what differs from it in that point
//! alone is accepted.

use consign::event::Format;
use libtest_mimic::Trial;

use super::stage::{PATHS, Stage, in_order};
use crate::harness::trial;
use crate::instance::{Flaw, Form, Signer};

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
    trials
}

/// What is taken although it is named a flaw.
const TAKEN: &[(Flaw, Signer, Form)] = &[
    // A key does not expire: that the log has the signature is proven without a time.
    (Flaw::NoSet, Signer::Key, Form::Bundle02),
    (Flaw::NoSet, Signer::Key, Form::Bundle03),
];

async fn each_flaw(signer: Signer, path: (Format, Form)) {
    let stage = Stage::new().await;
    let form = path.1;
    let good = stage.signed_image("good", path, signer, None).await;
    let flaws = Flaw::all(signer, form);
    let flaws = flaws
        .into_iter()
        .filter(|flaw| !ACCEPTED_FOR_NOW.contains(flaw));
    let (taken, flaws): (Vec<Flaw>, Vec<Flaw>) =
        flaws.partition(|flaw| TAKEN.contains(&(*flaw, signer, form)));
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
        "was not vouched for at 2025-06-15T00:00:10Z: CertExpired",
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
        "missing field `SignedEntryTimestamp`",
    ),
];

/// What is under debate: see the report.
const ACCEPTED_FOR_NOW: &[Flaw] = &[Flaw::UnknownIntermediate, Flaw::TwoNames];
