//! What cosign 2 and 3 sign against the instance's services is accepted, wherever they put it, under whom it
//! was signed by and under nobody else.

use consign::event::Format;
use libtest_mimic::Trial;

use super::stage::Stage;
use crate::harness::{Tool, Tools, with_tools};
use crate::instance::{By, ISSUER, Instance, JOB, Server, UNLOGGED, email_token, job_token};
use crate::registry::TestRegistry;
use crate::signatures::others::Cosign;
use crate::signatures::stand::OURS;

const COSIGNS: &[Tool] = &[Tool::Cosign2, Tool::Cosign3];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "keyless::what_cosign_signed_is_accepted_under_its_own_names_alone",
            COSIGNS,
            by_token,
        ),
        with_tools(
            "keyless::what_cosign_signed_by_a_key_must_stand_in_the_log_that_is_trusted",
            COSIGNS,
            by_key,
        ),
        with_tools(
            "keyless::a_mirror_copies_what_the_right_certificate_signed",
            COSIGNS,
            mirrored,
        ),
    ]
}

/// Who signs by hand, and who vouches for them.
const PERSON: (&str, &str) = ("dev@instance.test", "https://accounts.instance.test");
/// The usual job, and who vouches for it.
const USUAL: (&str, &str) = (JOB, ISSUER);

/// How cosign can sign, and what an identity must be for that to be accepted: bundles name none.
const WAYS: [(Cosign, Format, &str); 4] = [
    (Cosign::Two, Format::Tag, "matchRepository"),
    (Cosign::Two, Format::Referrer, "matchRepository"),
    (Cosign::Three, Format::Tag, "matchRepository"),
    (Cosign::Three, Format::Bundle, "digestOnly"),
];

async fn by_token(tools: Tools) {
    let stage = Stage::new().await;
    let server = Server::start(stage.instance.clone()).await;
    let client = stage.client(&tools);
    let root = stage.files.trusted_root.display();
    for (cosign, format, rule) in WAYS {
        let tokens = [
            (job_token(), USUAL, PERSON),
            (email_token(PERSON.0, PERSON.1), PERSON, USUAL),
        ];
        for (token, (identity, issuer), other) in tokens {
            let name = format!("{cosign:?}-{format:?}-{}", identity.len()).to_lowercase();
            let (_, image) = stage.image(&name).await;
            let how = (format, "-a team=web");
            let signed = client.sign(cosign, (&server, By::Token(&token)), how, &image);
            signed.await.good();
            let images = [image];
            let flags = |identity: &str, issuer: &str, more: &str| {
                format!(
                    "--trusted-root {root} --certificate-identity{identity} \
                     --certificate-oidc-issuer{issuer} --signed-identity {rule} {more}"
                )
            };
            let exact = |text: &str| format!(" {text}");
            for (identity, issuer) in [
                (exact(identity), exact(issuer)),
                ("-regexp instance.test".to_owned(), exact(issuer)),
                (exact(identity), "-regexp ^https://.*instance".to_owned()),
            ] {
                let flags = flags(&identity, &issuer, "-a team=web");
                stage.validate(&flags, &images).await.with(0);
            }
            let names = format!("names `{identity}`, vouched for by `{issuer}`, and");
            for (words, flags) in [
                ("is wanted", flags(&exact(other.0), &exact(issuer), "")),
                ("the issuer", flags(&exact(identity), &exact(other.1), "")),
                (
                    "(a regular expression) is wanted",
                    flags("-regexp ^other", &exact(issuer), ""),
                ),
            ] {
                let ended = stage.validate(&flags, &images).await;
                ended.with(3).saying(&[&names, words]);
            }
            let team = flags(&exact(identity), &exact(issuer), "-a team=other");
            stage
                .validate(&team, &images)
                .await
                .with(3)
                .saying(&["team"]);
            // Nor by a key, nor by what somebody else trusts.
            let key = format!("--key {} --signed-identity {rule}", stage.public.display());
            stage.validate(&key, &images).await.with(3);
            let other = Instance::new().write(tools.folder());
            let other = format!(
                "--trusted-root {} --certificate-identity {identity} \
                 --certificate-oidc-issuer {issuer} --signed-identity {rule}",
                other.trusted_root.display()
            );
            stage.validate(&other, &images).await.with(3);
        }
    }
}

async fn by_key(tools: Tools) {
    let stage = Stage::new().await;
    let server = Server::start(stage.instance.clone()).await;
    let client = stage.client(&tools);
    let other = Instance::new().write(tools.folder());
    for (cosign, format, rule) in WAYS {
        let name = format!("{cosign:?}-{format:?}").to_lowercase();
        let (_, image) = stage.image(&name).await;
        let by = By::Key(&OURS.private());
        let how = (format, "");
        client.sign(cosign, (&server, by), how, &image).await.good();
        let images = [image];
        let flags = |more: &str| {
            let key = OURS.public();
            format!("--key {key} --signed-identity {rule} {more}")
        };
        let log = |file: &std::path::Path| format!("--rekor-public-key {}", file.display());
        let root = format!("--trusted-root {}", stage.files.trusted_root.display());
        for more in [String::new(), log(&stage.files.rekor), root] {
            stage.validate(&flags(&more), &images).await.with(0);
        }
        let ended = stage.validate(&flags(&log(&other.rekor)), &images).await;
        ended.with(3).saying(&["key"]);
        let certificate = format!(
            "--trusted-root {} --certificate-identity {JOB} --certificate-oidc-issuer {ISSUER}",
            stage.files.trusted_root.display()
        );
        let ended = stage.validate(&certificate, &images).await;
        ended.with(3).saying(&["certificate"]);
        // Without the log the key is not enough, once the log is asked for.
        let (_, image) = stage.image(&format!("{name}-unlogged")).await;
        let how = (format, UNLOGGED);
        client.sign(cosign, (&server, by), how, &image).await.good();
        let images = [image];
        stage.validate(&flags(""), &images).await.with(0);
        let ended = stage
            .validate(&flags(&log(&stage.files.rekor)), &images)
            .await;
        ended.with(3).saying(&[match format {
            Format::Tag | Format::Referrer => "missing dev.sigstore.cosign/bundle annotation",
            Format::Bundle => "it has no entry of a transparency log",
        }]);
    }
}

async fn mirrored(tools: Tools) {
    let stage = Stage::new().await;
    let server = Server::start(stage.instance.clone()).await;
    let client = stage.client(&tools);
    let (token, host) = (job_token(), stage.registry.host());
    for (cosign, format, rule) in WAYS {
        let name = format!("apps/{cosign:?}-{format:?}").to_lowercase();
        let (_, image) = stage.image(&name).await;
        let by = (&server, By::Token(&token));
        client.sign(cosign, by, (format, ""), &image).await.good();
        let destination = TestRegistry::start().await;
        stage.place.write("list.txt", format!("{name}:1\n"));
        let mirror = |identity: &str| {
            format!(
                "mirror -f list.txt -s {host} -d {} --trusted-root {} --signed-identity {rule} \
                 --verify-certificate-identity {identity} --verify-certificate-oidc-issuer {ISSUER}",
                destination.host(),
                stage.files.trusted_root.display()
            )
        };
        let ended = stage.place.run(&mirror("other@instance.test")).await;
        ended.with(3).saying(&["names", JOB]);
        assert_eq!(destination.tag(&name, "1"), None);
        assert!(
            destination.writes().is_empty(),
            "{}",
            destination.log_text()
        );
        stage.place.run(&mirror(JOB)).await.with(0);
        assert!(destination.tag(&name, "1").is_some());
        // Where it was copied to, it says the same of itself.
        let there = [format!("{}/{name}:1", destination.host())];
        let known = format!(
            "--trusted-root {} --certificate-identity {JOB} --certificate-oidc-issuer {ISSUER} \
             --signed-identity digestOnly",
            stage.files.trusted_root.display()
        );
        stage.validate(&known, &there).await.with(0);
    }
}
