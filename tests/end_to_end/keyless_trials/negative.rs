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

/// What is said of a flaw.
fn reason(flaw: Flaw, signer: Signer, form: Form) -> &'static str {
    let is_simple = form == Form::Simple;
    match flaw {
        Flaw::ExpiredIntermediate => "was not vouched for at 2025-06-15T00:00:10Z: CertExpired",
        Flaw::ManyTimestamps => "it brings 1000 timestamps",
        Flaw::ManyEntries => "it brings 1000 log entries",
        Flaw::NamedInComment | Flaw::NamedInSubject => {
            "its certificate names `other@instance.test`, vouched for by"
        }
        Flaw::NamedInOtherName => "its certificate names nobody",
        Flaw::NoIssuer => "vouched for by ``, and the issuer",
        Flaw::NoEntry if is_simple => "missing dev.sigstore.cosign/bundle annotation",
        Flaw::NoEntry => "it has no entry of a transparency log",
        Flaw::NoSet if is_simple => "missing field `SignedEntryTimestamp`",
        Flaw::OtherBytes if signer == Signer::Key => "cryptographic signature verification failed",
        other => other
            .refusal(signer, form)
            .expect("the verifier refuses it"),
    }
}

/// What is under debate: see the report.
const ACCEPTED_FOR_NOW: &[Flaw] = &[Flaw::UnknownIntermediate, Flaw::TwoNames];
