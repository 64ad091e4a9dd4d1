//! Services that do wrong, and what they cost: nothing is pushed.

use std::time::Instant;

use libtest_mimic::Trial;
use serde_json::json;

use super::{FORMATS, Stage};
use crate::harness::trial;
use crate::instance::{Mischief, email_token, job_token};
use crate::registry::{Rule, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("keyless_sign::what_does_not_verify_is_not_pushed", mischief),
        trial(
            "keyless_sign::services_that_answer_badly_are_named",
            answers,
        ),
        trial("keyless_sign::services_in_trouble_are_asked_again", again),
        trial("keyless_sign::a_log_that_is_down_is_spared", spared),
        trial(
            "keyless_sign::a_token_that_is_refused_is_not_repeated",
            refused,
        ),
    ]
}

const FULCIO: &str = "/api/v2/signingCert";
const REKOR: &str = "/api/v1/log/entries";

async fn mischief() {
    let stage = Stage::set().await;
    for (mischief, said) in [
        (Mischief::CertificateOfOtherKey, "for another key"),
        (Mischief::CertificateExpired, "has ended"),
        (
            Mischief::CertificateWithoutSct,
            "no promise of a certificate log",
        ),
        (Mischief::CertificateOfOtherAuthority, "does not verify"),
        (Mischief::EntryOfSomethingElse, "does not verify"),
        (Mischief::EntryOfOtherLog, "does not verify"),
        (Mischief::EntryWithoutSet, "not pushed"),
    ] {
        stage.server.misbehave(mischief);
        for format in FORMATS {
            let name = format!("{mischief:?}-{format}").to_lowercase();
            let (_, image) = stage.image(&name).await;
            stage.registry.clear_log();
            let words = format!("--signature-format {format} {image}");
            stage.sign(&words).await.failed().saying(&[said]);
            stage.nothing_was_pushed();
        }
    }
    let person = email_token("me@x.test", "https://i.test");
    stage.server.misbehave(Mischief::CertificateOfSomebodyElse);
    let (_, image) = stage.image("somebody-else").await;
    let entries = stage.server.entries();
    stage.registry.clear_log();
    let ended = stage.sign_as(&person, &image).await.failed();
    ended.saying(&["`me@x.test` signs"]);
    stage.nothing_was_pushed();
    assert_eq!(
        stage.server.entries(),
        entries,
        "it is seen before anything is logged"
    );
    // The registry is none the wiser.
    stage.server.misbehave(None);
    let (_, image) = stage.image("good").await;
    stage.sign(&image).await.with(0);
}

async fn answers() {
    let stage = Stage::set().await;
    let endless = || "x".repeat(2 << 20);
    // The status and the body of what is answered, and what is said of it.
    let rules = [
        (FULCIO, (404, ""), "404 Not Found"),
        (FULCIO, (200, "<html>"), "no use"),
        (FULCIO, (200, "{}"), "not one certificate"),
        (REKOR, (400, ""), "400 Bad Request"),
        (REKOR, (201, "<html>"), "no use"),
        (REKOR, (201, "{}"), "not one entry"),
        (REKOR, (409, ""), "already"),
    ];
    let (_, image) = stage.image("app").await;
    let tried = async |path: &str, rule: Rule, said: &str| {
        let services = stage.server.registry();
        services.clear_rules();
        services.rule(rule);
        stage.registry.clear_log();
        let service = if path == FULCIO { "Fulcio" } else { "Rekor" };
        let ended = stage.sign(&image).await.failed();
        ended.saying(&[service, said, path, "signing services"]);
        stage.nothing_was_pushed();
    };
    for (path, (status, body), said) in rules {
        let rule = when("POST", path).respond(status).body(body);
        tried(path, rule, said).await;
    }
    // Nothing is sent to another place, whoever names it.
    let elsewhere = when("POST", FULCIO).redirect("https://other.example/");
    tried(FULCIO, elsewhere, "307").await;
    for path in [FULCIO, REKOR] {
        let rule = when("POST", path).respond(201).body(endless());
        tried(path, rule, "more than 1048576 bytes").await;
    }
}

async fn again() {
    let stage = Stage::set().await;
    let services = stage.server.registry();
    for (number, path) in [FULCIO, REKOR].into_iter().enumerate() {
        for (status, name) in [(429, "a"), (500, "b"), (503, "c")] {
            let (_, image) = stage.image(&format!("app{number}{name}")).await;
            services.clear_rules();
            services.rule(
                when("POST", path)
                    .times(2)
                    .respond(status)
                    .header("retry-after", "0"),
            );
            stage.sign(&image).await.with(0);
        }
        // The entry was made, and its answer was lost: it is taken from where it stands.
        let (_, image) = stage.image(&format!("app{number}d")).await;
        services.clear_rules();
        services.rule(when("POST", path).times(1).hang_up());
        stage.sign(&image).await.with(0);
        // Who hangs is left after a while.
        let (_, image) = stage.image(&format!("app{number}e")).await;
        services.clear_rules();
        let rule = services.rule(when("POST", path).stall());
        stage.registry.clear_log();
        let began = Instant::now();
        let ended = stage.sign(&format!("--stall-timeout 1s {image}")).await;
        ended
            .failed()
            .saying(&["no whole answer within 1s", "after 2 attempts"]);
        assert!(began.elapsed().as_secs() < 30);
        stage.nothing_was_pushed();
        rule.release();
    }
}

async fn refused() {
    let stage = Stage::set().await;
    let token = job_token();
    let echo = json!({ "code": 16, "message": format!("{token} is no good") }).to_string();
    stage
        .server
        .registry()
        .rule(when("POST", FULCIO).respond(401).body(echo));
    let mut list = String::new();
    for number in 0..30 {
        let (_, image) = stage.image(&format!("app{number}")).await;
        list.push_str(&image);
        list.push('\n');
    }
    stage.place.write("list.txt", list);
    stage.registry.clear_log();
    let ended = stage.sign_as(&token, "-f list.txt").await.with(1);
    ended
        .saying(&["401 Unauthorized: *** is no good", "identity token"])
        .hiding(&[&token]);
    assert_eq!(stage.server.certificates(), 1, "it was refused once");
    stage.nothing_was_pushed();
    assert_eq!(stage.place.lines("sign-failed.txt").len(), 30);
    // Nor is what is left of it where somebody cuts it off, or takes it apart.
    let parts: Vec<&str> = token.split('.').collect();
    let cut = token.strip_suffix(|_| true).unwrap();
    for echo in [cut, parts[1]] {
        let (_, image) = stage.image("app").await;
        let echo = json!({ "message": format!("{echo} is no good") }).to_string();
        let services = stage.server.registry();
        services.clear_rules();
        services.rule(when("POST", FULCIO).respond(401).body(echo));
        let ended = stage.sign_as(&token, &image).await.with(1);
        let ended = ended.saying(&["401 Unauthorized: ", "***", "is no good"]);
        ended.hiding(&[parts[1]]);
    }
}

async fn spared() {
    let stage = Stage::set().await;
    stage
        .server
        .registry()
        .rule(when("POST", REKOR).respond(503));
    let mut list = String::new();
    for number in 0..30 {
        let (_, image) = stage.image(&format!("app{number}")).await;
        list.push_str(&image);
        list.push('\n');
    }
    stage.place.write("list.txt", list);
    stage.registry.clear_log();
    let began = Instant::now();
    let ended = stage.sign("-f list.txt -j 1").await.failed();
    ended.saying(&["Rekor", "503 Service Unavailable"]);
    // Each image tries five times; and after a while one more is tried.
    let entries = stage.server.entries();
    assert!((15..=25).contains(&entries), "{entries}");
    assert!(began.elapsed().as_secs() < 60);
    stage.nothing_was_pushed();
    stage.server.registry().clear_rules();
    stage.sign("-f sign-failed.txt").await.with(0);
}
