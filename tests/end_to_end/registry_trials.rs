//! The test registry itself: its faults, its door, its log.

use std::time::Duration;

use consign::oci::Digest;
use consign::serve::{Access, Registry};
use libtest_mimic::Trial;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::harness::trial;
use crate::registry::{
    Auth, Bearer, Contents, Image, Mounts, Referrers, Settings, Sparse, TestRegistry, Transport,
    artifact, attestation, index, manifest_list, schema1, when,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("registry::faults_happen_when_they_are_due", faults),
        trial("registry::bodies_are_cut_stalled_and_changed", bodies),
        trial("registry::uploads_are_cut_and_stalled", uploads),
        trial("registry::basic_asks_for_a_password", basic),
        trial("registry::tokens_are_given_checked_and_end", tokens),
        trial("registry::mounts_and_referrers_can_be_refused", refusals),
        trial("registry::tls_is_spoken_with_its_own_certificate", tls),
        trial("registry::images_are_what_they_say", images),
        trial("registry::the_log_knows_the_order", order),
    ]
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

async fn get(registry: &TestRegistry, path: &str) -> Response {
    send(Client::new().get(format!("{}{path}", registry.url()))).await
}

async fn faults() {
    let registry = TestRegistry::start().await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let unavailable = when("GET", "/v2/app/manifests/*").nth(2).respond(503);
    let unavailable = registry.rule(unavailable.header("retry-after", "7").error("UNAVAILABLE"));
    let path = "/v2/app/manifests/1";
    assert_eq!(get(&registry, path).await.status(), 200);
    let second = get(&registry, path).await;
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "7");
    assert!(second.text().await.unwrap().contains("UNAVAILABLE"));
    assert_eq!(get(&registry, path).await.status(), 200);
    assert_eq!(unavailable.hits(), 1);

    registry.rule(when("*", "/v2/").times(1).hang_up());
    assert!(
        reqwest::get(format!("{}/v2/", registry.url()))
            .await
            .is_err()
    );
    assert_eq!(get(&registry, "/v2/").await.status(), 200);

    registry.rule(when("GET", "/v2/other/*").redirect(path));
    assert_eq!(get(&registry, "/v2/other/manifests/1").await.status(), 200);

    registry.rule(when("GET", "*/tags/list").set_header("link", "<x>"));
    registry.rule(when("GET", "*/tags/list").drop_header("content-type"));
    registry.rule(when("GET", "*/tags/list?n=3").answer_with(500));
    let tags = get(&registry, "/v2/app/tags/list").await;
    assert!(tags.headers().get("content-type").is_none());
    assert_eq!(tags.headers()["link"], "<x>");
    assert_eq!(get(&registry, "/v2/app/tags/list?n=3").await.status(), 500);
    registry.clear_rules();
    assert_eq!(get(&registry, "/v2/app/tags/list?n=3").await.status(), 200);

    registry.rule(when("PUT", "*").respond(403).early());
    registry.rule(when("PUT", "*").delay(Duration::from_millis(1)));
    let put = Client::new().put(format!("{}{path}", registry.url()));
    assert_eq!(send(put.body("{}")).await.status(), 403);
    let stalled = registry.rule(when("GET", "/v2/").stall());
    let control = async {
        stalled.hit(1).await;
        assert_eq!(registry.log().last().unwrap().status, None);
        stalled.release();
    };
    let (answer, ()) = tokio::join!(get(&registry, "/v2/"), control);
    assert_eq!(answer.status(), 200);
    // Released once, it holds nothing more.
    assert_eq!(get(&registry, "/v2/").await.status(), 200);
}

async fn bodies() {
    let registry = TestRegistry::start().await;
    let image = Image::of_blobs([vec![5; 300_000]])
        .push(&registry, "app", None)
        .await;
    let path = format!("/v2/app/blobs/{}", image.blobs[1]);

    registry.rule(when("GET", "*").nth(1).cut_body_after(100_000));
    let mut cut = get(&registry, &path).await;
    let mut got = 0;
    let error = loop {
        match cut.chunk().await {
            Ok(Some(chunk)) => got += chunk.len(),
            Ok(None) => panic!("the body came to its end"),
            Err(error) => break error,
        }
    };
    assert_eq!(got, 100_000, "{error}");

    registry.clear_rules();
    registry.rule(when("GET", "*").nth(1).corrupt_body_at(299_999));
    let corrupt = get(&registry, &path).await.bytes().await.unwrap();
    assert_eq!(
        (corrupt.len(), corrupt[299_998], corrupt[299_999]),
        (300_000, 5, 4)
    );

    registry.clear_rules();
    registry.rule(when("GET", "*").nth(1).wrong_length(-1));
    registry.rule(when("GET", "*").nth(2).wrong_length(1));
    registry.rule(when("GET", "*").nth(3).drop_header("content-length"));
    registry.rule(when("GET", "*").nth(4).replace_body("other"));
    registry.rule(when("GET", "*").from(6).corrupt_body());
    registry.rule(
        when("GET", "*")
            .nth(5)
            .trickle(100_000, Duration::from_millis(1)),
    );
    assert_eq!(
        get(&registry, &path).await.bytes().await.unwrap().len(),
        299_999
    );
    assert!(get(&registry, &path).await.bytes().await.is_err());
    let chunked = get(&registry, &path).await;
    assert_eq!(chunked.content_length(), None);
    assert_eq!(chunked.bytes().await.unwrap().len(), 300_000);
    assert_eq!(get(&registry, &path).await.text().await.unwrap(), "other");
    assert_eq!(
        get(&registry, &path).await.bytes().await.unwrap().len(),
        300_000
    );

    assert_eq!(get(&registry, &path).await.bytes().await.unwrap()[0], 4);

    registry.clear_rules();
    let stalled = registry.rule(when("GET", "*").stall_body_after(10));
    let mut body = get(&registry, &path).await;
    assert_eq!(body.chunk().await.unwrap().unwrap().len(), 10);
    stalled.release();
    assert_eq!(body.bytes().await.unwrap().len(), 299_990);
}

/// Opens an upload and gives the URL of its end.
async fn open_upload(registry: &TestRegistry, repository: &str, bytes: &[u8]) -> String {
    let url = format!("{}/v2/{repository}/blobs/uploads/", registry.url());
    let answer = send(Client::new().post(url)).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap();
    let digest = Digest::sha256(bytes);
    format!("{}{location}?digest={digest}", registry.url())
}

async fn uploads() {
    let registry = TestRegistry::start().await;
    let bytes = vec![1; 3_000_000];
    let put = |url: &str| Client::new().put(url).body(bytes.clone()).send();

    let url = open_upload(&registry, "app", &bytes).await;
    registry.rule(when("PUT", "*").nth(1).cut_request_after(1_000_000));
    assert!(put(&url).await.is_err());
    let status = send(Client::new().get(&url)).await;
    assert_eq!(status.headers()["range"], "0-999999");
    let cut = registry.requests("PUT", "*").remove(0);
    assert!((1_000_000..3_000_000).contains(&cut.received), "{cut}");
    assert_eq!(cut.status, None);

    let url = open_upload(&registry, "app", &bytes).await;
    registry.rule(when("PUT", "*").nth(1).lose_answer());
    assert!(put(&url).await.is_err());
    assert_eq!(Contents::of(&registry, "app").await.blobs.len(), 1);

    let url = open_upload(&registry, "app", &bytes).await;
    let stalled = registry.rule(when("PUT", "*").stall_request_after(100));
    let control = async {
        stalled.hit(1).await;
        stalled.release();
    };
    let (answer, ()) = tokio::join!(put(&url), control);
    assert_eq!(answer.unwrap().status(), 201);
    assert_eq!(
        registry.requests("PUT", "*").pop().unwrap().received,
        3_000_000
    );
}

async fn basic() {
    let registry = TestRegistry::with(Settings {
        auth: Auth::Basic("me", "secret"),
        ..Settings::default()
    })
    .await;
    let refused = get(&registry, "/v2/").await;
    assert_eq!(refused.status(), 401);
    assert!(
        refused.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    let ask = |password| {
        let request = Client::new().get(format!("{}/v2/", registry.url()));
        send(request.basic_auth("me", Some(password)))
    };
    assert_eq!(ask("wrong").await.status(), 401);
    assert_eq!(ask("secret").await.status(), 200);
    let schemes: Vec<String> = registry
        .log()
        .iter()
        .map(|line| line.scheme().to_owned())
        .collect();
    assert_eq!(schemes, ["", "Basic", "Basic"]);
}

async fn token(registry: &TestRegistry, query: &str) -> String {
    let request = Client::new().get(format!("{}/token?service=test&{query}", registry.url()));
    let answer = send(request.basic_auth("user", Some("password"))).await;
    assert_eq!(answer.status(), 200);
    let document: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    document["token"].as_str().unwrap().to_owned()
}

async fn tokens() {
    let registry = TestRegistry::with(Settings {
        auth: Auth::Bearer(Bearer {
            uses: Some(2),
            expires_in: Some(Duration::from_mins(1)),
            identity_token: Some("refresh"),
            ..Bearer::default()
        }),
        ..Settings::default()
    })
    .await;
    Image::new(&["a"]).push(&registry, "a/b", Some("1")).await;
    let manifest = format!("{}/v2/a/b/manifests/1", registry.url());
    let refused = send(Client::new().get(&manifest)).await;
    let challenge = refused.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    let realm = format!("Bearer realm=\"{}/token\",service=\"test\"", registry.url());
    assert_eq!(challenge, format!("{realm},scope=\"repository:a/b:pull\""));

    let with = |token: String| send(Client::new().get(&manifest).bearer_auth(token));
    let pull = token(&registry, "scope=repository:a/b:pull").await;
    // It is good for two requests, and for pulling.
    let push = Client::new().put(&manifest).bearer_auth(&pull).body("{}");
    let push = send(push).await;
    assert_eq!(push.status(), 401);
    let challenge = push.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.ends_with("repository:a/b:pull,push\",error=\"insufficient_scope\""));
    assert_eq!(with(pull.clone()).await.status(), 200);
    assert_eq!(with(pull.clone()).await.status(), 200);
    let spent = with(pull).await;
    let challenge = spent.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.ends_with(",error=\"invalid_token\""),
        "{challenge}"
    );

    let other = token(&registry, "scope=repository:other:pull").await;
    assert_eq!(with(other).await.status(), 401);
    let revoked = token(&registry, "scope=repository:a/b:pull,push").await;
    registry.revoke_tokens();
    assert_eq!(with(revoked).await.status(), 401);
    // A mount reads from the other repository.
    let both = token(
        &registry,
        "scope=repository:a/b:pull,push&scope=repository:c:pull",
    )
    .await;
    let mount = format!(
        "{}/v2/a/b/blobs/uploads/?mount={}&from=c",
        registry.url(),
        Digest::sha256(b"")
    );
    assert_eq!(
        send(Client::new().post(mount).bearer_auth(both))
            .await
            .status(),
        202
    );

    let refresh = |value: &str| {
        let form = format!("grant_type=refresh_token&refresh_token={value}&service=test");
        send(
            Client::new()
                .post(format!("{}/token", registry.url()))
                .body(form),
        )
    };
    assert_eq!(refresh("refresh").await.status(), 200);
    assert_eq!(refresh("other").await.status(), 401);
    let requests = registry.token_requests();
    assert_eq!(requests.len(), 6);
    assert_eq!(requests[0].scopes, ["repository:a/b:pull"]);
    assert_eq!(
        (requests[0].user.as_deref(), requests[0].given),
        (Some("user"), true)
    );
    assert_eq!((&*requests[5].service, requests[5].given), ("test", false));
}

async fn refusals() {
    for (mounts, own, other) in [
        (Mounts::Done, 201, 201),
        (Mounts::Upload, 202, 202),
        (Mounts::NotFromItself, 202, 201),
        (Mounts::Refused(405), 405, 405),
    ] {
        let registry = TestRegistry::with(Settings {
            mounts,
            referrers: Referrers::Unknown,
            ..Settings::default()
        })
        .await;
        let image = Image::new(&["a"]).push(&registry, "a", None).await;
        for (repository, status) in [("a", own), ("b", other)] {
            let query = format!("mount={}&from=a", image.blobs[0]);
            let url = format!("{}/v2/{repository}/blobs/uploads/?{query}", registry.url());
            assert_eq!(
                send(Client::new().post(url)).await.status(),
                status,
                "{mounts:?}"
            );
        }
        let referrers = get(&registry, &format!("/v2/a/referrers/{}", image.digest)).await;
        assert_eq!(referrers.status(), 404);
    }
}

async fn tls() {
    let registry = TestRegistry::with(Settings {
        transport: Transport::Tls,
        ..Settings::default()
    })
    .await;
    let url = format!("{}/v2/", registry.url());
    assert!(Client::new().get(&url).send().await.is_err());
    let certificate = reqwest::Certificate::from_pem(registry.certificate().as_bytes()).unwrap();
    let client = Client::builder()
        .tls_certs_only([certificate])
        .build()
        .unwrap();
    assert_eq!(send(client.get(&url)).await.status(), 200);
}

async fn images() {
    let directory = tempfile::tempdir().unwrap();
    let inner = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let settings = Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    };
    let registry = TestRegistry::over(inner, settings).await;
    let here = &registry;
    let amd = Image::new(&["base", "amd"]).push(here, "app", None).await;
    let arm = Image::new(&["base", "arm"])
        .on("linux/arm64/v8")
        .docker()
        .foreign_layer("https://example.com/layer")
        .field("odd", serde_json::json!(1.5))
        .push(here, "app", Some("arm"))
        .await;
    assert_eq!(amd.blobs[1], arm.blobs[1]);
    assert_eq!(arm.descriptor()["platform"]["variant"], "v8");
    assert_eq!(arm.json()["odd"], 1.5);
    let attested = attestation(here, "app", &amd).await;
    let inner = index(here, "app", None, &[&amd, &attested]).await;
    let nested = index(here, "app", Some("all"), &[&inner, &arm]).await;
    manifest_list(here, "app", Some("list"), &[&arm]).await;
    let signed = artifact(
        here,
        "app",
        "application/x.signature",
        Some(&nested),
        "signed",
    )
    .await;
    let old = schema1(here, "old", "1").await;

    let referrers = get(here, &format!("/v2/app/referrers/{}", nested.digest)).await;
    let referrers: Value = serde_json::from_slice(&referrers.bytes().await.unwrap()).unwrap();
    assert_eq!(
        referrers["manifests"][0]["digest"],
        signed.digest.to_string()
    );
    let seen = get(here, "/v2/old/manifests/1").await;
    assert_eq!(seen.headers()["content-type"], old.media_type.as_str());

    let before = Contents::of(here, "app").await;
    assert_eq!(before.manifest_digests().len(), 7);
    assert_eq!(before.tags["all"], nested.digest);
    assert_eq!(here.tag("app", "all"), Some(nested.digest));
    assert!(before.blob_digests().contains(&amd.blobs[0]));
    // And all of it from the disk again.
    drop(registry);
    let inner = Registry::open(directory.path(), Access::ReadOnly)
        .await
        .unwrap();
    let again = TestRegistry::over(inner, Settings::default()).await;
    assert_eq!(Contents::of(&again, "app").await, before);
    assert_ne!(Contents::of(&again, "old").await, before);
}

async fn order() {
    let registry = TestRegistry::start().await;
    let first = registry.rule(when("GET", "/v2/").nth(1).stall());
    let control = async {
        first.hit(1).await;
        assert_eq!(get(&registry, "/v2/").await.status(), 200);
        first.release();
    };
    let (_, ()) = tokio::join!(get(&registry, "/v2/"), control);
    registry
        .wait(|log| log.len() == 2 && log.iter().all(|line| line.answered.is_some()))
        .await;
    let log = registry.log();
    assert!(log[0].number < log[1].number && log[1].answered < log[0].answered);
    assert_eq!(registry.count("GET", "/v2/*"), 2, "{}", registry.log_text());
    assert!(registry.writes().is_empty());
    registry.clear_log();
    assert!(registry.log().is_empty());
}
