//! cosign 2, cosign 3 and skopeo with what is signed here.

use consign::event::Format;
use libtest_mimic::Trial;
use serde_json::json;

use super::Stage;
use crate::harness::{Tool, Tools, with_tools};
use crate::instance::{Client, ISSUER, JOB, email_token, job_token};
use crate::signatures::others::{Cosign, Skopeo, policy};
use crate::signatures::stand::Stand;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "keyless_sign::cosign_accepts_what_is_signed",
            &[Tool::Cosign2, Tool::Cosign3],
            cosign,
        ),
        with_tools(
            "keyless_sign::skopeo_accepts_what_is_signed",
            &[Tool::Skopeo],
            skopeo,
        ),
    ]
}

/// Somebody who signs by hand.
const PERSON: &str = "dev@instance.test";
/// Who vouches for persons.
const ACCOUNTS: &str = "https://accounts.instance.test";

async fn cosign(tools: Tools) {
    let stage = Stage::set().await;
    let client = Client {
        tools: &tools,
        files: &stage.files,
    };
    let job = (job_token(), (JOB, ISSUER));
    let person = (email_token(PERSON, ACCOUNTS), (PERSON, ACCOUNTS));
    for (format, reader, (token, who)) in [
        (Format::Tag, Cosign::Two, &job),
        (Format::Tag, Cosign::Three, &person),
        (Format::Referrer, Cosign::Two, &person),
        (Format::Referrer, Cosign::Three, &job),
        (Format::Bundle, Cosign::Three, &job),
        (Format::Bundle, Cosign::Three, &person),
    ] {
        let name = format!("{format:?}-{reader:?}-{}", who.0.len()).to_lowercase();
        let (_, image) = stage.image(&name).await;
        let words = format!("--signature-format {} -a team=web {image}", format.as_str());
        stage.sign_as(token, &words).await.with(0);
        let more = match format {
            Format::Referrer => "--experimental-oci11 -a team=web",
            Format::Tag | Format::Bundle => "-a team=web",
        };
        client.verify(reader, *who, more, &image).await.good();
        let other = ("other@instance.test", who.1);
        let said = client.verify(reader, other, more, &image).await;
        assert!(!said.is_good, "{}", said.text);
        let said = client
            .verify(reader, *who, &more.replace("web", "db"), &image)
            .await;
        assert!(!said.is_good, "{}", said.text);
    }
}

async fn skopeo(tools: Tools) {
    let stage = Stage::set().await;
    let stand = Stand::new(tools);
    let requirement = json!({
        "type": "sigstoreSigned",
        "fulcio": {
            "caPath": stage.files.root,
            "oidcIssuer": ACCOUNTS,
            "subjectEmail": PERSON,
        },
        "rekorPublicKeyPath": stage.files.rekor,
    });
    let skopeo = Skopeo::with(&stand, &policy(&stage.registry.host(), &requirement));
    for (email, is_taken) in [(PERSON, true), ("other@instance.test", false)] {
        let (_, image) = stage.image(&format!("app{is_taken}")).await;
        skopeo.pull("", &image).await.refused("no signature exists");
        stage
            .sign_as(&email_token(email, ACCOUNTS), &image)
            .await
            .with(0);
        let said = skopeo.pull("", &image).await;
        assert_eq!(said.is_good, is_taken, "{}", said.text);
    }
}
