//! What is left for machines and people: results, reports, exit codes, and no secret anywhere.

use std::collections::BTreeSet;
use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::Value;

use super::stand::{Key, Kind, Made, OTHER, OURS, PASSPHRASE, Registry, Stand, TWO, on_both};
use crate::harness::{Tools, with_tools};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![with_tools(
        "signatures::no_secret_is_ever_said",
        &[],
        secrets,
    )];
    trials.extend(on_both(
        "results_and_report_have_their_shape",
        (Kind::Serve, &[]),
        results,
    ));
    trials.extend(on_both(
        "each_end_of_a_validation_has_its_code",
        (Kind::Serve, &[]),
        codes,
    ));
    trials
}

/// The names of an object's fields.
fn fields(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn set(words: &str) -> BTreeSet<&str> {
    words.split(' ').collect()
}

async fn results(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let platforms = &["linux/amd64", "linux/arm64/v8", "linux/s390x"];
    let image = stand.image(&registry, "apps/web:1", platforms).await;
    stand.list(std::slice::from_ref(&image));
    let key = signed(&stand, &image).await;
    accepted(&stand, &image, &key).await;
    rejected(&stand, &image).await;
}

/// The result and the report of a signing; gives the id of the key.
async fn signed(stand: &Stand, image: &Made) -> Value {
    let host = &image.host;
    let sign = format!(
        "sign -f list.txt --registry {host} --key {} -a team=web --report report.json",
        OURS.private()
    );
    let signed = stand.results(&sign, 0).await;
    assert_eq!(signed.len(), 1);
    let report = stand.place.json("report.json");
    assert_eq!(report["schema"], "consign.report/1");
    assert_eq!(report["command"], "sign");
    assert_eq!(report["summary"]["signed"], 1);
    same_without_notes(&report["lines"][0], &signed[0]);
    let line = &signed[0];
    assert_eq!(
        fields(line),
        set("job file line text image outcome elapsed_ms digest signing")
    );
    assert_eq!(line["image"], image.by_tag());
    let signing = &line["signing"];
    assert_eq!(fields(signing), set("image key signatures"));
    assert_eq!(signing["image"], image.by_digest());
    let signatures = signing["signatures"].as_array().expect("a list");
    let digest = |one: &Value| one["digest"].as_str().map(str::to_owned);
    let digests: Vec<_> = signatures.iter().filter_map(digest).collect();
    let expected: Vec<_> = image.digests().iter().map(ToString::to_string).collect();
    assert_eq!(digests, expected);
    assert_eq!(
        fields(&signatures[0]),
        set("digest role format identity added")
    );
    assert_eq!(
        fields(&signatures[1]),
        set("digest role platform format identity added")
    );
    assert_eq!(signatures[0]["role"], "index");
    assert_eq!(signatures[2]["role"], "platform");
    assert_eq!(signatures[2]["platform"], "linux/arm64/v8");
    assert!(
        signatures
            .iter()
            .all(|one| one["identity"] == image.by_tag())
    );
    signing["key"].clone()
}

/// A validation that leaves a report.
fn validate(image: &Made, key: Key) -> String {
    let (host, key) = (&image.host, key.public());
    format!("validate -f list.txt --registry {host} --key {key} --report report.json")
}

async fn accepted(stand: &Stand, image: &Made, key: &Value) {
    let validate = format!("{} --arch amd64,arm64,mips", validate(image, OURS));
    let accepted = stand.results(&validate, 0).await;
    let report = stand.place.json("report.json");
    assert_eq!(report["command"], "validate");
    same_without_notes(&report["lines"][0], &accepted[0]);
    let line = &accepted[0];
    assert_eq!(
        fields(line),
        set("job file line text image outcome elapsed_ms digest validation")
    );
    assert_eq!(line["outcome"], "accepted");
    let validation = &line["validation"];
    assert_eq!(fields(validation), set("image manifests unchecked absent"));
    assert_eq!(validation["image"], image.by_digest());
    assert_eq!(validation["unchecked"], serde_json::json!(["linux/s390x"]));
    let absent = validation["absent"].to_string();
    assert!(absent.contains("mips"), "{absent}");
    let manifest = &validation["manifests"][0];
    assert_eq!(
        fields(manifest),
        set("digest role platform verdict signature reasons")
    );
    let signature = &manifest["signature"];
    assert_eq!(
        fields(signature),
        set("key format identity identity_proven annotations")
    );
    assert_eq!(signature["key"], *key);
    assert_eq!(signature["format"], "tag");
    assert_eq!(
        signature["annotations"],
        serde_json::json!({ "team": "web" })
    );
}

async fn rejected(stand: &Stand, image: &Made) {
    let validate = validate(image, OTHER);
    let rejected = stand.results(&validate, 3).await;
    let line = &rejected[0];
    assert_eq!(line["outcome"], "rejected");
    let failure = &line["failure"];
    assert_eq!(
        (&failure["stage"], &failure["kind"]),
        (&"verify".into(), &"rejected".into())
    );
    assert_eq!(failure.get("side"), None, "an image that stays has no side");
    let manifest = &line["validation"]["manifests"][1];
    assert_eq!(manifest["verdict"], "rejected");
    assert!(manifest.get("signature").is_none());
    assert!(!manifest["reasons"].as_array().expect("a list").is_empty());
    // People are told on stderr, and stdout has data alone; without being asked, nothing.
    let ended = stand.run(&validate).await.with(3);
    assert_eq!(ended.text(), "");
    ended.saying(&["rejected", "linux/amd64", "linux/arm64"]);
}

/// A result is the line of the report without its notes.
fn same_without_notes(line: &Value, result: &Value) {
    let mut line = line.clone();
    line.as_object_mut().expect("an object").remove("notes");
    assert_eq!(line, *result);
}

async fn codes(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let image = stand.image(&registry, "apps/web:1", TWO).await;
    let unsigned = stand.image(&registry, "apps/none:1", TWO).await;
    stand.list(std::slice::from_ref(&image));
    let sign = format!(
        "sign -f list.txt --registry {host} --key {}",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    stand.place.write("missing.txt", "apps/web:2\n");
    stand.place.write("both.txt", "apps/none:1\napps/web:2\n");
    stand.place.write("unsigned.txt", unsigned.line());
    stand.place.write("bad.txt", "apps/web:1 two\n");
    stand
        .place
        .write("unreachable.txt", "127.0.0.1:1/apps/web:1\n");
    stand.place.write("empty.pub", "");
    let key = OURS.public();
    let private = OURS.private();
    for (words, code, said) in [
        (format!("-f list.txt --key {key}"), 0, ""),
        (format!("-f missing.txt --key {key}"), 1, "apps/web:2"),
        (format!("-f list.txt --key {key} --arch mips"), 1, "mips"),
        ("-f list.txt --key none.pub".to_owned(), 2, "none.pub"),
        ("-f list.txt --key empty.pub".to_owned(), 2, "empty.pub"),
        (
            format!("-f list.txt --key {private}"),
            2,
            "is a private key",
        ),
        (format!("-f bad.txt --key {key}"), 2, "bad.txt:1"),
        (format!("-f none.txt --key {key}"), 2, "none.txt"),
        (
            format!("-f list.txt --key {key} --signed-identity sometimes"),
            2,
            "sometimes",
        ),
        (
            format!("-f list.txt --key {key} --report list.txt"),
            2,
            "list.txt",
        ),
        (format!("-f unsigned.txt --key {key}"), 3, "no signature"),
        // The verdict outranks the failure.
        (format!("-f both.txt --key {key}"), 3, "apps/web:2"),
        (
            format!("-f list.txt --key {key} -a team=web"),
            3,
            "team=web",
        ),
    ] {
        let ended = stand
            .run(&format!("validate {words} --registry {host}"))
            .await;
        assert_eq!(ended.code(), Some(code), "{ended}");
        ended.saying(&[said]);
    }
    let ended = stand
        .run(&format!("validate -f unreachable.txt --key {key}"))
        .await;
    ended.with(4).saying(&["127.0.0.1:1"]);
}

/// Neither a passphrase nor a key is in any output, whatever goes wrong.
async fn secrets(tools: Tools) {
    let registry = Registry::start(&tools, Kind::Logged, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let image = stand.image(&registry, "apps/web:1", TWO).await;
    stand.list(std::slice::from_ref(&image));
    let wrong = "a wrong phrase of mine";
    stand.place.write("wrong.txt", wrong);
    stand.place.write("right.txt", format!("{PASSPHRASE}\n"));
    let sign = format!(
        "sign -f list.txt --registry {host} --key {} --report report.json --debug",
        OURS.private()
    );
    let with = |phrase: &str| [("COSIGN_PASSWORD", PathBuf::from(phrase))];
    let private = std::fs::read_to_string(OURS.private()).expect("it reads");
    let sealed = private.lines().nth(1).expect("a body").to_owned();
    let mut said = Vec::new();
    for (more, phrase, code) in [
        ("", wrong, 2),
        ("", "", 2),
        ("--passphrase-file wrong.txt", PASSPHRASE, 2),
        ("--passphrase-file none.txt", PASSPHRASE, 2),
        ("--passphrase-file right.txt", wrong, 0),
        ("--output json", PASSPHRASE, 0),
        ("--log-format json", PASSPHRASE, 0),
    ] {
        let ended = stand
            .place
            .run_with(&format!("{sign} {more}"), &with(phrase))
            .await;
        assert_eq!(ended.code(), Some(code), "{ended}");
        if code == 2 && !more.contains("none.txt") {
            assert!(ended.stderr.contains("passphrase"), "{ended}");
        }
        said.push(format!("{}{}", ended.text(), ended.stderr));
    }
    // Nobody to ask: it says what is missing instead of waiting.
    let none = stand.place.run(&sign).await;
    none.with(2).saying(&["passphrase"]);
    said.push(stand.place.read("report.json"));
    let Registry::Logged(scripted) = &registry else {
        panic!("it is one");
    };
    for logged in scripted.log() {
        said.push(format!("{logged} {:?}", logged.headers));
    }
    for text in said {
        for secret in [PASSPHRASE, wrong, &sealed] {
            assert!(!text.contains(secret), "it says `{secret}`: {text}");
        }
    }
}
