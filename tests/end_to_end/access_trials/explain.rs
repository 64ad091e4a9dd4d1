//! `consign auth explain`.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{entry, helper, nothing_secret, path};
use crate::harness::trial;
use crate::program::{Ended, Workplace};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("access::it_is_explained_which_place_answers", places),
        trial("access::it_is_explained_which_helper_answers", helpers),
        trial("access::it_is_explained_what_is_broken", broken),
        trial("access::it_is_explained_where_sources_are", sources),
    ]
}

/// Words, place and state of each place.
fn states(document: &Value) -> Vec<(String, String)> {
    let places = document["credentials"]["places"].as_array();
    let text = |place: &Value, name: &str| place[name].as_str().expect("a text").to_owned();
    let places = places.expect("places").iter();
    places
        .map(|place| (text(place, "why"), text(place, "state")))
        .collect()
}

/// What stands on stdout.
fn document(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.stdout).expect("it is JSON")
}

async fn places() {
    let place = Workplace::new();
    let secret = "hunter2";
    place.write("creds.txt", format!("h.example/ns typed {secret}\n"));
    let kept = json!({ "auths": { "h.example": entry("kept", secret) } });
    place.write(".config/containers/auth.json", kept.to_string());
    let docker = json!({ "auths": {
        "h.example": entry("docker", secret),
        "h.example/other": entry("other", secret),
        "token.example": { "identitytoken": secret },
    } });
    place.write(".docker/config.json", docker.to_string());
    let run = [("XDG_RUNTIME_DIR", place.path("run"))];
    let explain = async |what: &str| {
        let ended = place.run_with(&format!("auth explain {what}"), &run).await;
        let ended = ended.with(0);
        nothing_secret(&ended, "kept", secret);
        nothing_secret(&ended, "docker", secret);
        ended
    };
    let json = async |what: &str| document(&explain(&format!("{what} --output json")).await);

    let document = json("h.example/other/app").await;
    let expected = [
        ("podman, until logout", "not-there"),
        ("podman, kept", "answers"),
        ("Docker", "later"),
        ("Docker, old", "not-there"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(why, state)| ((*why).to_owned(), (*state).to_owned()))
        .collect();
    assert_eq!(states(&document), expected, "{document:#}");
    let answer = &document["credentials"]["answer"];
    assert_eq!(answer["user"], "kept");
    assert_eq!(answer["key"], "h.example");
    assert_eq!(answer["kind"], "password");
    let file = place.path(".config/containers/auth.json");
    assert_eq!(answer["place"], file.display().to_string());
    let text = explain("h.example/other/app").await.text();
    for words in [
        "user `kept`",
        "for `h.example`",
        "`h.example/other`",
        "not asked any more",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }

    let document = json("h.example/ns/app --creds-file creds.txt").await;
    assert_eq!(document["credentials"]["answer"]["user"], "typed");
    assert_eq!(
        states(&document)[0],
        ("--creds-file".into(), "answers".into())
    );
    let document = json("h.example --authfile .docker/config.json").await;
    assert_eq!(states(&document), [("--authfile".into(), "answers".into())]);
    assert_eq!(document["credentials"]["answer"]["user"], "docker");
    let document = json("token.example").await;
    assert_eq!(document["credentials"]["answer"]["kind"], "identity-token");
    let document = json("other.example").await;
    assert_eq!(document["credentials"]["answer"], Value::Null);
    let text = explain("other.example").await.text();
    assert!(text.contains("without a credential"), "{text}");
}

async fn helpers() {
    let place = Workplace::new();
    let said = r#"echo '{"Username":"helped","Secret":"hunter2"}'"#;
    helper(&place, "test", said).await;
    let config = json!({ "credHelpers": { "h.example": "test" }, "credsStore": "test" });
    place.write(".docker/config.json", config.to_string());
    let more = [("PATH", path(&place))];
    for (registry, key) in [
        ("h.example", json!("h.example")),
        ("other.example", Value::Null),
    ] {
        let ended = place
            .run_with(&format!("auth explain {registry}/a --output json"), &more)
            .await
            .with(0);
        nothing_secret(&ended, "helped", "hunter2");
        let answer = document(&ended)["credentials"]["answer"].clone();
        assert_eq!(answer["helper"], "test");
        assert_eq!(answer["user"], "helped");
        assert_eq!(answer["key"], key);
        let ended = place
            .run_with(&format!("auth explain {registry}"), &more)
            .await;
        assert!(ended.with(0).text().contains("docker-credential-test"));
    }
}

async fn broken() {
    let place = Workplace::new();
    place.write(".docker/config.json", "{\n \"auths\": hunter2");
    let ended = place.run("auth explain h.example").await.with(2);
    nothing_secret(&ended, "", "hunter2");
    let text = ended.text();
    assert!(
        text.contains("line 2") && text.contains(".docker/config.json"),
        "{text}"
    );
    assert!(text.contains("a run ends here"), "{text}");
    ended.saying(&["line 2"]);
    let ended = place
        .run("auth explain h.example --authfile none.json")
        .await;
    ended.with(2).saying(&["none.json"]);
    place.write(
        ".docker/config.json",
        r#"{"credHelpers":{"h.example":"../x"}}"#,
    );
    let ended = place.run("auth explain h.example").await.with(2);
    ended.saying(&["`../x` is no name of a helper"]);
}

async fn sources() {
    let place = Workplace::new();
    let conf = "[[registry]]\nlocation = \"shut.example\"\nblocked = true\n\
                [[registry]]\nlocation = \"near.example\"\ninsecure = true\n";
    place.write(".config/containers/registries.conf", conf);
    let one = |place: &str, insecure: bool| json!([{ "place": place, "insecure": insecure }]);
    for (asked, places) in [
        ("h.example/app", one("h.example/app", false)),
        ("near.example", one("near.example", true)),
        // No image was asked for, and none is named.
        (
            "shut.example/app",
            json!({ "error": "blocked: nothing of it is read" }),
        ),
    ] {
        let run_it = format!("auth explain {asked} --output json");
        let ended = place.run(&run_it).await.with(0);
        assert_eq!(document(&ended)["sources"]["places"], places, "{ended}");
    }
}
