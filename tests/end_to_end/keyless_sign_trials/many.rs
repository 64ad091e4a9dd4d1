//! Many images: certificates that last seconds, tokens that change, and runs that find everything there.

use std::path::PathBuf;
use std::time::Instant;

use libtest_mimic::Trial;

use super::{FORMATS, Stage};
use crate::harness::trial;
use crate::instance::{email_token, job_token, job_token_for};
use crate::program::{outcomes, until};
use crate::registry::when;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("keyless_sign::one_certificate_serves_many", one),
        trial("keyless_sign::certificates_are_renewed_in_time", renewed),
        trial("keyless_sign::a_second_run_writes_nothing", twice),
        trial("keyless_sign::tokens_from_a_file_are_read_again", rotated),
        trial(
            "keyless_sign::a_token_that_ends_leaves_the_rest_untried",
            ended,
        ),
        trial(
            "keyless_sign::an_entry_whose_answer_was_lost_is_found",
            lost,
        ),
        trial("keyless_sign::mirror_signs_what_it_copies", mirrored),
        trial("keyless_sign::the_command_of_the_tutorial_works", tutorial),
    ]
}

/// A list of so many images.
async fn list(stage: &Stage, count: usize) -> Vec<String> {
    let mut images = Vec::new();
    for number in 0..count {
        images.push(stage.image(&format!("app{number}")).await.1);
    }
    stage.place.write("list.txt", images.join("\n"));
    images
}

async fn one() {
    let stage = Stage::set().await;
    list(&stage, 20).await;
    stage.sign("-f list.txt").await.with(0);
    assert_eq!(
        (stage.server.certificates(), stage.server.entries()),
        (1, 20)
    );
    stage.validate("-f list.txt").await.with(0);
}

async fn renewed() {
    let stage = Stage::set().await;
    let images = list(&stage, 12).await;
    stage.server.issue_for(3);
    // Each entry takes a while, so that all of them take longer than a certificate lasts.
    let pause = std::time::Duration::from_millis(700);
    stage
        .server
        .registry()
        .rule(when("POST", "/api/v1/log/entries").delay(pause));
    for format in ["tag", "bundle"] {
        let words = format!("-f list.txt -j 1 --signature-format {format}");
        stage.sign(&words).await.with(0);
    }
    let certificates = stage.server.certificates();
    assert!(
        (4..=24).contains(&certificates),
        "{certificates} certificates"
    );
    stage.validate(&images.join(" ")).await.with(0);
}

async fn twice() {
    let stage = Stage::set().await;
    list(&stage, 3).await;
    for format in FORMATS {
        let words = format!("-f list.txt --signature-format {format} -a team=web");
        stage.sign(&words).await.with(0);
        let entries = stage.server.entries();
        stage.registry.clear_log();
        stage.sign(&words).await.with(0).saying(&["already signed"]);
        assert_eq!(stage.server.entries(), entries, "{format}");
        stage.nothing_was_pushed();
        // Somebody else's is another signature, and so is one that says something else.
        let other = email_token("me@x.test", "https://i.test");
        stage.sign_as(&other, &words).await.with(0);
        assert_eq!(stage.server.entries(), entries + 3, "{format}");
        stage.sign(&format!("{words} -a more=1")).await.with(0);
        assert_eq!(stage.server.entries(), entries + 6, "{format}");
    }
}

async fn rotated() {
    let stage = Stage::set().await;
    list(&stage, 6).await;
    stage.server.issue_for(2);
    let first = job_token_for(3600);
    stage.place.write("token", &first);
    let services = stage.server.registry();
    let entries = "/api/v1/log/entries";
    let hold = services.rule(when("POST", entries).nth(3).stall());
    let words = format!(
        "sign {} -y --identity-token token -j 1 -f list.txt",
        stage.services()
    );
    let running = stage.place.start(&words);
    hold.hit(1).await;
    // Longer than the certificate lasts; the token in the file is another one by then.
    let second = job_token_for(7200);
    assert_ne!(first, second);
    stage.place.write("token", &second);
    has_ended(3).await;
    hold.release();
    running.end().await.with(0).hiding(&[&first, &second]);
    assert!(stage.server.certificates() >= 2);
    stage.validate("-f list.txt").await.with(0);
    // One of somebody else was not agreed to.
    let hold = services.rule(when("POST", entries).nth(1).stall());
    let words = format!("{words} -a more=1");
    let running = stage.place.start(&words);
    hold.hit(1).await;
    stage
        .place
        .write("token", email_token("other@x.test", "https://i.test"));
    has_ended(3).await;
    hold.release();
    let ended = running.end().await.with(1);
    ended.saying(&["other@x.test", "begun as"]);
}

/// Waits until certificates have ended that lasted so many seconds.
async fn has_ended(seconds: u64) {
    let began = Instant::now();
    until("an end", || {
        (began.elapsed().as_secs() >= seconds).then_some(())
    })
    .await;
}

async fn ended() {
    let stage = Stage::set().await;
    list(&stage, 8).await;
    stage.server.issue_for(2);
    let token = job_token_for(4);
    let pause = std::time::Duration::from_millis(1500);
    stage
        .server
        .registry()
        .rule(when("POST", "/api/v1/log/entries").delay(pause));
    let words = "-f list.txt -j 1 --report report.json";
    let ended = stage.sign_as(&token, words).await.with(1);
    ended.saying(&["the identity token ended at", "a new run with a new token"]);
    let outcomes = outcomes(&stage.place.json("report.json"));
    assert_eq!(outcomes[0], "signed", "{outcomes:?}");
    assert!(
        outcomes.iter().filter(|word| *word == "not-tried").count() >= 3,
        "{outcomes:?}"
    );
    assert!(
        outcomes.iter().filter(|word| *word == "failed").count() <= 1,
        "{outcomes:?}"
    );
    // What is left is signed by the next run.
    stage.server.registry().clear_rules();
    stage.sign("-f sign-failed.txt").await.with(0);
    stage.validate("-f list.txt").await.with(0);
}

async fn lost() {
    let stage = Stage::set().await;
    let (_, image) = stage.image("app").await;
    let rule = when("POST", "/api/v1/log/entries").times(1).lose_answer();
    stage.server.registry().rule(rule);
    stage.sign(&image).await.with(0);
    assert_eq!(stage.server.entries(), 2);
    stage.validate(&image).await.with(0);
}

async fn mirrored() {
    let stage = Stage::set().await;
    let (_, image) = stage.image("app").await;
    let to = crate::registry::TestRegistry::start().await;
    let url = stage.server.url();
    let root = stage.files.trusted_root.display();
    let words = format!(
        "copy {image} {}/app:1 --sign-keyless -y --fulcio-url {url} --rekor-url {url} --sign-trusted-root {root}",
        to.host()
    );
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(job_token()))];
    stage.place.run_with(&words, &token).await.with(0);
    stage
        .validate(&format!("{}/app:1", to.host()))
        .await
        .with(0);
    // What cannot be signed has no tag.
    stage
        .server
        .registry()
        .rule(when("POST", "/api/v1/log/entries").respond(400));
    let words = words.replace("app:1 --sign", "app:2 --sign");
    stage.place.run_with(&words, &token).await.with(1);
    assert!(to.tag("app", "2").is_none());
}

async fn tutorial() {
    let stage = Stage::set().await;
    let (pushed, _) = stage.image("group/project").await;
    let image = format!("{}/group/project@{}", stage.registry.host(), pushed.digest);
    let mut command = stage.place.command(&format!(
        "sign {image} --registry-referrers-mode oci-1-1 {}",
        stage.services()
    ));
    command
        .args(["--annotations", "com.gitlab.ci.user.name=Ann Other"])
        .args(["--annotations", "tag=1.0"])
        .env("COSIGN_YES", "true")
        .env("SIGSTORE_ID_TOKEN", job_token());
    stage.place.run_command(command, "sign", "").await.with(0);
    let words = format!("--annotations tag=1.0 {image}");
    stage.validate(&words).await.with(0);
    stage
        .validate(&format!("--annotations tag=2.0 {image}"))
        .await
        .with(3);
}
