//! Registries that ask who somebody is: what `sign` and `validate` ask of them, and no more.

use libtest_mimic::Trial;

use super::stand::{Kind, OURS, Registry, Stand, TWO};
use crate::harness::{Tools, with_tools};
use crate::registry::{Auth, Bearer, Settings, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    vec![with_tools(
        "signatures::validation_asks_for_nothing_but_to_read",
        &[],
        tokens,
    )]
}

async fn tokens(tools: Tools) {
    // Filled while nobody asks; then the same bytes behind a door.
    let open = Registry::start(&tools, Kind::Logged, "open").await;
    let stand = Stand::new(tools);
    let image = stand.image(&open, "apps/web:1", TWO).await;
    stand.list(std::slice::from_ref(&image));
    let settings = |grants| Settings {
        auth: Auth::Bearer(Bearer {
            grants,
            ..Bearer::default()
        }),
        ..Settings::default()
    };
    let closed = TestRegistry::with(settings(&["pull", "push", "delete"])).await;
    let reading = TestRegistry::with(settings(&["pull"])).await;
    let auth = |host: &str| format!(r#""{host}":{{"auth":"dXNlcjpwYXNzd29yZA=="}}"#);
    let auths = format!("{},{}", auth(&closed.host()), auth(&reading.host()));
    stand
        .place
        .write(".docker/config.json", format!(r#"{{"auths":{{{auths}}}}}"#));
    let (from, to) = (open.host(), closed.host());
    stand
        .run(&format!("mirror -f list.txt -s {from} -d {to}"))
        .await
        .with(0);

    let sign = format!("sign -f list.txt --key {}", OURS.private());
    stand.run(&format!("{sign} --registry {to}")).await.with(0);
    let before = closed.token_requests().len();
    closed.revoke_tokens();
    let validate = format!("validate -f list.txt --key {}", OURS.public());
    stand
        .run(&format!("{validate} --registry {to}"))
        .await
        .with(0);
    let asked = &closed.token_requests()[before..];
    assert!(!asked.is_empty());
    for request in asked {
        assert!(request.given, "{request:?}");
        assert!(
            request.scopes.iter().all(|scope| scope.ends_with(":pull")),
            "{request:?}"
        );
    }

    // Who may only read cannot sign, and hears it; an image that nobody may see is no verdict.
    let host = reading.host();
    let ended = stand
        .run(&format!("{sign} --registry {host}"))
        .await
        .with(1);
    assert!(reading.writes().is_empty(), "{ended}");
    stand.place.write(".docker/config.json", "{}");
    let ended = stand.run(&format!("{validate} --registry {to}")).await;
    ended.with(4).saying(&["log in"]);
    stand.run(&format!("{sign} --registry {to}")).await.with(1);
}
