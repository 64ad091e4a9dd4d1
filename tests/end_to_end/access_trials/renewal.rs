//! Credentials that end in the middle of a run.

use libtest_mimic::Trial;
use serde_json::json;

use super::{guarded, guarded_by, helper, nothing_secret, path};
use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{Auth, Image, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::a_helper_is_asked_again_when_its_credential_has_ended",
            renewed,
        ),
        trial(
            "access::a_helper_is_not_told_the_passphrase_of_a_key",
            not_told,
        ),
    ]
}

/// Images of the list.
const IMAGES: usize = 6;

async fn renewed() {
    let source = guarded_by(Auth::Basic("user", "hunter2-old")).await;
    let destination = TestRegistry::start().await;
    let place = Workplace::new();
    for n in 0..IMAGES {
        let image = Image::new(&[&format!("layer {n}")]);
        image
            .push(&source, &format!("team/app{n}"), Some("1"))
            .await;
    }
    let lines: Vec<String> = (0..IMAGES).map(|n| format!("team/app{n}:1")).collect();
    place.write("list.txt", lines.join("\n"));
    // It gives another password each time, as helpers of clouds do.
    let script = r#"echo x >> "$0.count"
        if [ "$(wc -l < "$0.count")" = 1 ]; then p=hunter2-old; else p=hunter2-new; fi
        echo "{\"Username\":\"user\",\"Secret\":\"$p\"}""#;
    helper(&place, "cloud", script).await;
    let config = json!({ "credHelpers": { source.host(): "cloud" } });
    place.write(".docker/config.json", config.to_string());

    let stalled = source.rule(when("GET", "/v2/team/*/blobs/*").nth(3).stall());
    let (from, to) = (source.host(), destination.host());
    let run = format!("mirror -f list.txt -s {from} -d {to} --jobs 2 --report report.json --debug");
    let more = [("PATH", path(&place))];
    let (ended, ()) = tokio::join!(place.run_with(&run, &more), async {
        stalled.hit(1).await;
        source.change_password("hunter2-new");
        stalled.release();
    });
    let ended = ended.with(0);
    assert_eq!(outcomes(&place.json("report.json")), ["copied"; IMAGES]);
    let count = place.read("bin/docker-credential-cloud.count");
    assert_eq!(count.lines().count(), 2, "{ended}");
    for password in ["hunter2-old", "hunter2-new"] {
        nothing_secret(&ended, "user", password);
    }
}

async fn not_told() {
    let registry = guarded().await;
    let place = Workplace::new();
    let script = r#"env > "$0.env"
        echo '{"Username":"user","Secret":"hunter2:and more"}'"#;
    helper(&place, "cloud", script).await;
    let config = json!({ "credHelpers": { registry.host(): "cloud" } });
    place.write(".docker/config.json", config.to_string());
    let more = [
        ("PATH", path(&place)),
        ("COSIGN_PASSWORD", "pass-phrase".into()),
        ("SIGSTORE_ID_TOKEN", "id-token".into()),
        ("AWS_PROFILE", "some-profile".into()),
    ];
    let run = format!("list-tags {}/team/app", registry.host());
    place.run_with(&run, &more).await.with(0);
    let told = place.read("bin/docker-credential-cloud.env");
    // What helpers of clouds need is there.
    assert!(told.contains("some-profile"), "{told}");
    assert!(!told.contains("pass-phrase"), "{told}");
    assert!(!told.contains("id-token"), "{told}");
}
