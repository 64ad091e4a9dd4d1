//! The failed list of a compose file: an image list that asks for the same.

use std::fs;

use libtest_mimic::Trial;
use serde_json::Value;

use super::stage::{SIGNED, Stage, VERIFIED, outcomes};
use crate::harness::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "compose::what_was_rejected_is_rejected_again_by_its_failed_list",
            validated,
        ),
        trial(
            "compose::a_failed_list_works_from_another_folder",
            elsewhere,
        ),
        trial(
            "compose::a_failed_mirror_is_taken_up_with_the_settings_of_services",
            mirrored,
        ),
        trial(
            "compose::a_failed_sign_is_taken_up_with_the_keys_of_services",
            signed,
        ),
        trial(
            "compose::failed_lists_of_plain_lists_say_what_they_said",
            plain,
        ),
        trial("compose::paths_with_blanks_and_quotes_come_back", odd_paths),
        trial(
            "compose::a_failed_list_never_takes_the_place_of_a_compose_file",
            never_over,
        ),
    ]
}

const CHANGED: &str = "x-nerdctl-verify: cosign\nx-nerdctl-cosign-public-key: keys/other.pub";

/// The lines of a failed list, without what it says of them.
fn lines(stage: &Stage, name: &str) -> Vec<String> {
    stage.place.lines(name)
}

/// Signed images of four services, of which two have a changed key.
async fn page() -> Stage {
    let services = [
        ("good", VERIFIED),
        ("changed", CHANGED),
        ("silent", ""),
        ("twice", CHANGED),
    ];
    let stage = Stage::set(&services).await;
    stage
        .run("sign -f compose.yaml --key keys/own.key")
        .await
        .with(0);
    stage
}

async fn validated() {
    let stage = page().await;
    let found = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(found, ["accepted", "rejected", "not-verified", "rejected"]);
    let expected = ["changed", "twice"].map(|service| {
        let image = stage.image(service);
        format!("{image} verify=cosign cosign-public-key=keys/other.pub")
    });
    assert_eq!(lines(&stage, "validate-failed.txt"), expected);
    let again = stage.outcomes("validate -f validate-failed.txt", 3).await;
    assert_eq!(again, ["rejected", "rejected"]);
    assert_eq!(lines(&stage, "validate-failed.txt"), expected);
    // Signed by whom the services name, they are good.
    stage
        .run("sign -f compose.yaml --key keys/other.key")
        .await
        .with(0);
    let good = stage.outcomes("validate -f validate-failed.txt", 0).await;
    assert_eq!(good, ["accepted", "accepted"]);
}

async fn elsewhere() {
    let stage = page().await;
    let path = stage.place.path("compose.yaml");
    let folder = stage.place.path("elsewhere");
    fs::create_dir(&folder).unwrap();
    let run = async |words: &str, code: i32| {
        let mut command = stage.place.command(words);
        command.current_dir(&folder);
        stage.place.run_command(command, words, "").await.with(code)
    };
    // The keys are found beside the compose file, and written down as they can be opened from here.
    let validate = format!("validate --output json -f {}", path.display());
    let ended = run(&validate, 3).await;
    let found = ["accepted", "rejected", "not-verified", "rejected"];
    assert_eq!(outcomes(&ended), found);
    let key = stage.place.path("keys/other.pub");
    let failed = lines(&stage, "elsewhere/validate-failed.txt");
    assert_eq!(failed.len(), 2);
    let says = format!("cosign-public-key={}", key.display());
    assert!(
        failed.iter().all(|line| line.ends_with(&says)),
        "{failed:?}"
    );
    let ended = run("validate --output json -f validate-failed.txt", 3).await;
    assert_eq!(outcomes(&ended), ["rejected", "rejected"]);
    // And from the first folder, for the paths are absolute.
    let again = stage.outcomes("validate -f elsewhere/validate-failed.txt -o out.txt", 3);
    assert_eq!(again.await, ["rejected", "rejected"]);
    // A relative one is looked for where the run is, and its line is named where it is not there.
    stage.outcomes("validate -f compose.yaml", 3).await;
    let moved = run("validate -f ../validate-failed.txt", 2).await;
    moved.saying(&[
        "validate-failed.txt:",
        "cannot read the key `keys/other.pub`",
    ]);
}

async fn mirrored() {
    let services = [
        ("good", format!("{VERIFIED}\n{SIGNED}")),
        ("later", format!("{VERIFIED}\n{SIGNED}")),
        ("silent", String::new()),
    ];
    let stage = Stage::set(&services).await;
    stage.compose(&services[..1]);
    stage.run("sign -f compose.yaml").await.with(0);
    stage.compose(&services);
    let to = stage.destination.host();
    let copied = stage
        .outcomes(&format!("mirror -f compose.yaml -d {to}"), 3)
        .await;
    assert_eq!(copied, ["copied", "rejected", "copied"]);
    let image = stage.image("later");
    let line = format!(
        "{image} verify=cosign cosign-public-key=keys/own.pub sign=cosign cosign-private-key=keys/own.key"
    );
    assert_eq!(lines(&stage, "mirror-failed.txt"), [line]);
    let again = format!("mirror -f mirror-failed.txt -d {to}");
    assert_eq!(stage.outcomes(&again, 3).await, ["rejected"]);
    assert!(!stage.arrived("later"));
    stage.run("sign -f compose.yaml").await.with(0);
    let ended = stage.run(&format!("{again} --output json")).await.with(0);
    let result: &Value = &ended.json_lines()[0];
    assert_eq!(result["outcome"], "copied", "{result}");
    assert_eq!(
        result["signing"]["signatures"][0]["identity"],
        format!("{to}/later_image:1")
    );
    assert!(stage.arrived("later"));
}

async fn signed() {
    let services = [("good", SIGNED), ("gone", SIGNED), ("silent", "")];
    let stage = Stage::set(&services[..1]).await;
    stage.push("silent").await;
    stage.compose(&services);
    let found = stage.outcomes("sign -f compose.yaml", 1).await;
    assert_eq!(found, ["signed", "failed", "not-signed"]);
    let image = stage.image("gone");
    let line = format!("{image} sign=cosign cosign-private-key=keys/own.key");
    assert_eq!(lines(&stage, "sign-failed.txt"), [line]);
    stage.push("gone").await;
    assert_eq!(
        stage.outcomes("sign -f sign-failed.txt", 0).await,
        ["signed"]
    );
    // What a validation rejected is not signed without being told to.
    stage.compose(&[("good", format!("{CHANGED}\n{SIGNED}"))]);
    stage.outcomes("validate -f compose.yaml", 3).await;
    let guarded = stage.outcomes("sign -f validate-failed.txt", 3).await;
    assert_eq!(guarded, ["not-tried"]);
}

async fn plain() {
    let stage = Stage::set(&[("a", ""), ("b", "")]).await;
    let (a, b) = (stage.image("a"), stage.image("b"));
    stage.place.write("list.txt", format!("{a}\n{b}  # why\n"));
    stage
        .run("validate -f list.txt --key keys/own.pub")
        .await
        .with(3);
    assert_eq!(
        lines(&stage, "validate-failed.txt"),
        [a.clone(), format!("{b}  # why")]
    );
    // A list line may say for itself what a service says.
    let own = format!("{a} verify=cosign cosign-public-key=keys/own.pub  # why");
    stage.place.write("list.txt", format!("{own}\n{b}\n"));
    let found = stage.outcomes("validate -f list.txt", 3).await;
    assert_eq!(found, ["rejected", "not-verified"]);
    assert_eq!(lines(&stage, "validate-failed.txt"), [own]);
}

async fn odd_paths() {
    let odd = [
        "a key.pub",
        "it's \"a\" key.pub",
        "\"key\".pub",
        "#key=1.pub",
        "back\\slash \\.pub",
        "ключ\u{a0}.pub",
    ];
    let services: Vec<(String, String)> = odd
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let path = Value::from(format!("odd keys/{name}"));
            let keys = format!("x-nerdctl-verify: cosign\nx-nerdctl-cosign-public-key: {path}");
            (format!("s{number}"), keys)
        })
        .collect();
    let services: Vec<(&str, &str)> = services
        .iter()
        .map(|(name, keys)| (name.as_str(), keys.as_str()))
        .collect();
    let stage = Stage::set(&services).await;
    let key = stage.place.read("keys/own.pub");
    for name in odd {
        stage.place.write(&format!("odd keys/{name}"), &key);
    }
    let all = vec!["rejected"; odd.len()];
    assert_eq!(stage.outcomes("validate -f compose.yaml", 3).await, all);
    let failed = lines(&stage, "validate-failed.txt");
    assert_eq!(failed.len(), odd.len(), "{failed:?}");
    assert_eq!(
        stage.outcomes("validate -f validate-failed.txt", 3).await,
        all
    );
    assert_eq!(lines(&stage, "validate-failed.txt"), failed);
    stage
        .run("sign -f compose.yaml --key keys/own.key")
        .await
        .with(0);
    let good = vec!["accepted"; odd.len()];
    assert_eq!(
        stage.outcomes("validate -f validate-failed.txt", 0).await,
        good
    );
}

async fn never_over() {
    let stage = page().await;
    let before = stage.place.read("compose.yaml");
    stage.forget();
    let ended = stage
        .run("validate -f compose.yaml -o compose.yaml")
        .await
        .with(2);
    ended.saying(&["cannot write the failed list `compose.yaml`"]);
    stage.nothing_was_asked();
    assert_eq!(stage.place.read("compose.yaml"), before);
}
