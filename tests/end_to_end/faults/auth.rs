//! Who asks: passwords, tokens, and where they never go.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use consign::event::{Kind, Side};
use consign::registry::{Access, Credential, Renew};
use futures::future::join_all;
use http::header::AUTHORIZATION;
use libtest_mimic::Trial;

use super::{
    Road, basic, bearer, blob_path, known_to, manifest_path, new_client, noise, password, put_blob,
    put_path, quick, reference, said,
};
use crate::harness::trial;
use crate::registry::{
    Auth, Bearer, Contents, Image, Logged, Mounts, Settings, TestRegistry, when,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("auth::nobody_is_told_who_did_not_ask", not_asked),
        trial(
            "auth::tokens_are_given_to_nobody_in_particular_too",
            anonymous,
        ),
        trial("auth::basic_costs_one_refusal", basic_once),
        trial("auth::thirty_jobs_fetch_each_token_once", single_flight),
        trial("auth::a_token_is_renewed_before_it_ends", renewed),
        trial("auth::a_token_that_is_spent_is_replaced", spent),
        trial(
            "auth::a_token_revoked_under_an_upload_costs_one_more_try",
            revoked,
        ),
        trial("auth::an_identity_token_is_exchanged", identity),
        trial("auth::a_wrong_password_is_tried_once", wrong_password),
        trial(
            "auth::a_password_that_ended_is_renewed_where_403_is_said_of_it",
            ended_password,
        ),
        trial(
            "auth::a_right_that_is_missing_is_asked_for_a_few_times_only",
            no_right,
        ),
        trial("auth::a_redirect_takes_no_credentials_along", redirect),
        trial(
            "auth::credentials_do_not_come_back_after_leaving",
            back_again,
        ),
        trial(
            "auth::an_upload_elsewhere_gets_no_credentials",
            upload_elsewhere,
        ),
        trial("auth::a_realm_that_steals_gets_nothing", realms),
        trial("auth::a_realm_of_its_own_port_is_served", other_port),
        trial(
            "auth::a_token_service_in_trouble_is_asked_again",
            token_trouble,
        ),
        trial(
            "auth::a_token_service_that_talks_nonsense_is_asked_once",
            token_nonsense,
        ),
        trial("auth::a_link_to_elsewhere_is_not_followed", link),
        trial("auth::a_mount_asks_for_both_repositories", mount_scope),
    ]
}

fn refusals(registry: &TestRegistry) -> usize {
    let is_refused = |line: &&Logged| line.status == Some(401) && line.path != "/token";
    registry.log().iter().filter(is_refused).count()
}

fn strangers(registry: &TestRegistry) -> bool {
    registry
        .log()
        .iter()
        .all(|line| line.header(AUTHORIZATION).is_empty())
}

async fn not_asked() {
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    for registry in [&road.source, &road.destination] {
        assert!(strangers(registry), "{}", registry.log_text());
        assert_eq!(registry.count("*", "/token"), 0);
        assert_eq!(registry.count("*", "/v2/"), 0);
    }
}

async fn anonymous() {
    let open = || {
        bearer(Bearer {
            credentials: None,
            ..Bearer::default()
        })
    };
    let (source, destination) = (
        TestRegistry::with(open()).await,
        TestRegistry::with(open()).await,
    );
    let road = Road::of(source, destination, quick());
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    let asked = road.source.token_requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].scopes, ["repository:app:pull"]);
    assert_eq!((&asked[0].user, asked[0].given), (&None, true));
}

async fn basic_once() {
    let road = Road::between(basic(), basic()).await;
    Image::new(&["a", "b", "c"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    assert_eq!(
        (refusals(&road.source), refusals(&road.destination)),
        (1, 1)
    );
    let schemes: Vec<_> = road
        .source
        .log()
        .iter()
        .map(|line| line.scheme().to_owned())
        .collect();
    assert_eq!(schemes[0], "");
    assert!(schemes[1..].iter().all(|scheme| scheme == "Basic"));
}

async fn single_flight() {
    let road = Road::between(bearer(Bearer::default()), bearer(Bearer::default())).await;
    let names: Vec<String> = (0..30).map(|n| format!("app{}:{n}", n % 3)).collect();
    for name in &names {
        let (repository, tag) = name.split_once(':').unwrap();
        Image::new(&["base", name])
            .push(&road.source, repository, Some(tag))
            .await;
    }
    let copies = join_all(names.iter().map(|name| road.copy(name))).await;
    for copy in copies {
        road.is_copied(copy);
    }
    for registry in [&road.source, &road.destination] {
        let asked = registry.token_requests();
        let distinct: HashSet<_> = asked.iter().map(|request| &request.scopes).collect();
        assert_eq!(asked.len(), distinct.len(), "{asked:#?}");
        assert!(refusals(registry) <= 2, "{}", registry.log_text());
    }
    // To read is one right for each repository.
    assert_eq!(road.source.token_requests().len(), 3);
}

async fn renewed() {
    let short = bearer(Bearer {
        expires_in: Some(Duration::from_secs(1)),
        ..Bearer::default()
    });
    let road = Road::between(short, Settings::default()).await;
    Image::of_blobs([noise(100_000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    Image::new(&["b"])
        .push(&road.source, "app", Some("2"))
        .await;
    // A token for one second is renewed after three quarters of it.
    let slow = when("PUT", &manifest_path("1")).delay(Duration::from_millis(800));
    road.destination.rule(slow);
    road.copied("app:1").await;
    road.copied("app:2").await;
    assert_eq!(road.source.token_requests().len(), 2);
    assert_eq!(refusals(&road.source), 1, "{}", road.source.log_text());
}

async fn spent() {
    let two = bearer(Bearer {
        uses: Some(2),
        ..Bearer::default()
    });
    let road = Road::between(two, Settings::default()).await;
    let child = Image::new(&["a"]).push(&road.source, "app", None).await;
    crate::registry::index(&road.source, "app", Some("1"), &[&child]).await;
    road.copied("app:1").await;
    assert!(road.source.token_requests().len() >= 2);
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

async fn revoked() {
    let road = Road::between(Settings::default(), bearer(Bearer::default())).await;
    let image = Image::of_blobs([noise(3_000_000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let layer = image.blobs[1];
    let stalled = road
        .destination
        .rule(when("PUT", &put_path(&layer)).nth(1).stall());
    let revoke = async {
        stalled.hit(1).await;
        road.destination.revoke_tokens();
        stalled.release();
    };
    let (copied, ()) = tokio::join!(road.copied("app:1"), revoke);
    assert_eq!(copied.tally.blobs_copied, 2);
    let puts = road.destination.requests("PUT", &put_path(&layer));
    let statuses: Vec<_> = puts.iter().map(|put| put.status).collect();
    assert_eq!(statuses, [Some(401), Some(201)], "{}", road.logs());
    assert_ne!(puts[0].path, puts[1].path, "a new session");
    assert_eq!(road.source.count("GET", &blob_path(&layer)), 2);
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

async fn identity() {
    let asks = bearer(Bearer {
        identity_token: Some("refresh"),
        ..Bearer::default()
    });
    let (source, destination) = (TestRegistry::start().await, TestRegistry::with(asks).await);
    let mut settings = quick();
    settings.insert(
        &destination.host().parse().unwrap(),
        &Credential::IdentityToken("refresh".into()),
    );
    let road = Road::of(source, destination, settings);
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    assert_eq!(road.destination.count("GET", "/token"), 0);
    let asked = road.destination.token_requests();
    assert!(asked.iter().all(|request| request.given));
    assert!(asked.iter().all(|request| request.service == "test"));
    assert!(
        asked
            .iter()
            .any(|request| request.scopes == ["repository:app:pull,push"])
    );
}

/// ECR says 403 of a password that has ended, where others say 401.
async fn ended_password() {
    let registry = TestRegistry::with(basic()).await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let image = reference(&registry, "app:1");
    let renewals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&renewals);
    let renew: Renew = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(Some(password("user", "password"))) })
    });
    let mut settings = quick();
    let namespace = image.repository.registry().clone().into();
    let ended = password("user", "ended");
    let credentials = &mut settings.source.credentials;
    credentials.give(namespace, ended, Some(renew));
    // The first is asked without, and challenged.
    let path = manifest_path("1");
    registry.rule(when("HEAD", &path).nth(2).answer_with(403));
    let client = new_client(settings);
    let identifier = image.identifier();
    let asked = client.resolve(&image.repository, &identifier, Access::Pull);
    assert!(asked.await.unwrap().is_some(), "{}", registry.log_text());
    assert_eq!(renewals.load(Ordering::Relaxed), 1);
    assert_eq!(registry.count("HEAD", &path), 3);
    assert_eq!(registry.count("GET", &path), 0);
}

async fn wrong_password() {
    for settings in [basic(), bearer(Bearer::default())] {
        let is_basic = matches!(settings.auth, Auth::Basic(..));
        let source = TestRegistry::with(settings).await;
        let mut settings = quick();
        settings.insert(&source.host().parse().unwrap(), &password("user", "wrong"));
        let road = Road::of(source, TestRegistry::start().await, settings);
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Unauthorized, Some(Side::Source)),
            "{}",
            said(&failure)
        );
        let expected = if is_basic { (2, 0) } else { (1, 1) };
        let tokens = road.source.token_requests().len();
        assert_eq!(
            (road.source.count("GET", "*/manifests/*"), tokens),
            expected,
            "{}",
            road.logs()
        );
        assert!(road.destination.writes().is_empty());
    }
}

async fn no_right() {
    let reads = bearer(Bearer {
        grants: &["pull"],
        ..Bearer::default()
    });
    let road = Road::between(Settings::default(), reads).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Unauthorized, Some(Side::Destination))
    );
    // Two blobs, each with one refused mount, one look and one refused upload at most, and each of
    // those refused with an old token and with new ones.
    assert!(road.destination.log().len() <= 32, "{}", road.logs());
}

/// A registry that sends its readers elsewhere for a blob, with what it is to be read from.
async fn with_cdn(auth: Settings) -> (Road, TestRegistry, String) {
    let road = Road::between(auth, Settings::default()).await;
    let cdn = TestRegistry::start().await;
    let layer = noise(200_000, 1);
    let image = Image::of_blobs([layer.clone()])
        .push(&road.source, "app", Some("1"))
        .await;
    put_blob(&cdn, "app", layer).await;
    let path = blob_path(&image.blobs[1]);
    (road, cdn, path)
}

async fn redirect() {
    for auth in [basic(), bearer(Bearer::default())] {
        // The same address on another port is gone to, without credentials.
        let (road, cdn, path) = with_cdn(auth.clone()).await;
        let place = format!("{}{path}?sig=1", cdn.url());
        road.source.rule(when("GET", &path).redirect(&place));
        road.copied("app:1").await;
        assert_eq!(cdn.count("GET", &format!("{path}?sig=1")), 1);
        assert!(strangers(&cdn), "{}", cdn.log_text());
        // Another name for this machine is not.
        let (road, cdn, path) = with_cdn(auth).await;
        let place = format!("{}{path}", cdn.url()).replace("127.0.0.1", "localhost");
        road.source.rule(when("GET", &path).redirect(&place));
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
        assert!(cdn.log().is_empty(), "{}", cdn.log_text());
    }
}

async fn back_again() {
    let (road, cdn, path) = with_cdn(basic()).await;
    let there = format!("{}{path}", cdn.url());
    let back = format!("{}{path}?again", road.source.url());
    road.source.rule(when("GET", &path).nth(1).redirect(&there));
    cdn.rule(when("GET", &path).redirect(&back));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unauthorized, "{}", said(&failure));
    let again = road.source.requests("GET", &format!("{path}?again"));
    assert_eq!(again.len(), 1, "{}", road.logs());
    assert!(again[0].header(AUTHORIZATION).is_empty());
    assert!(strangers(&cdn));
}

async fn upload_elsewhere() {
    let destination = Settings {
        mounts: Mounts::Upload,
        ..bearer(Bearer::default())
    };
    let road = Road::between(Settings::default(), destination).await;
    let store = TestRegistry::start().await;
    let image = Image::of_blobs([noise(100_000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let location = format!("{}/store/1?X-Signature=abc&x=1", store.url());
    let opened = when("POST", "/v2/app/blobs/uploads/").set_header("location", &location);
    road.destination.rule(opened);
    let stored = store.rule(when("PUT", "/store/1").respond(201));
    // As if the store and the registry were one behind the scenes.
    for blob in &image.blobs {
        let bytes = Contents::of(&road.source, "app").await.blobs[blob].clone();
        put_blob(&road.destination, "app", bytes).await;
    }
    road.copied("app:1").await;
    assert_eq!(stored.hits(), 2);
    assert!(strangers(&store), "{}", store.log_text());
    for put in store.requests("PUT", "/store/1") {
        // The query that was given stays as it was.
        assert!(
            put.query
                .starts_with("X-Signature=abc&x=1&digest=sha256%3A"),
            "{}",
            put.query
        );
    }
}

async fn realms() {
    for realm in [
        "http://169.254.169.254/token",
        "http://[fd00:ec2::254]/token",
        "http://0.0.0.0:1/token",
        "http://user@127.0.0.1/token",
        "ftp://127.0.0.1/token",
        "/token",
    ] {
        let asks = bearer(Bearer {
            realm: Some(realm.to_owned()),
            ..Bearer::default()
        });
        let road = Road::between(asks, Settings::default()).await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, Kind::Refused, "{realm}: {}", said(&failure));
        assert!(said(&failure).contains("not trusted"), "{}", said(&failure));
        assert_eq!(road.source.log().len(), 1, "{realm}: {}", road.logs());
    }
}

async fn other_port() {
    let realm = TestRegistry::with(bearer(Bearer::default())).await;
    let asks = bearer(Bearer {
        realm: Some(format!("{}/token?account=x", realm.url())),
        ..Bearer::default()
    });
    let road = Road::between(asks, Settings::default()).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    // Its tokens are not known to the registry; what counts is that it was asked.
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unauthorized);
    let asked = realm.requests("GET", "/token");
    assert_eq!(asked[0].scheme(), "Basic");
    assert!(
        asked[0]
            .query
            .starts_with("account=x&service=test&scope=repository%3Aapp%3Apull"),
        "{}",
        asked[0].query
    );
    assert!(asked.len() <= 2, "{}", realm.log_text());
}

async fn token_trouble() {
    for status in [429, 500, 503] {
        let road = Road::between(bearer(Bearer::default()), Settings::default()).await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let trouble = when("GET", "/token").times(2).respond(status);
        let trouble = trouble.header("retry-after", "0");
        road.source.rule(trouble);
        road.copied("app:1").await;
        assert_eq!(road.source.count("GET", "/token"), 3);
    }
    let road = Road::between(bearer(Bearer::default()), Settings::default()).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.source.rule(when("GET", "/token").respond(429));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::RateLimited);
    assert!(said(&failure).contains("/token"), "{}", said(&failure));
    assert!(
        said(&failure).contains("after 4 attempts"),
        "{}",
        said(&failure)
    );
    assert_eq!(road.source.count("GET", "/token"), 4);
}

async fn token_nonsense() {
    for body in [
        "",
        "{}",
        "[]",
        "<html>login</html>",
        "{\"token\":\"\"}",
        "{\"token\":\"a\\nb\"}",
    ] {
        let road = Road::between(bearer(Bearer::default()), Settings::default()).await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let answer = when("GET", "/token").respond(200).body(body);
        road.source.rule(answer);
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, Kind::Refused, "{body}: {}", said(&failure));
        assert!(said(&failure).contains("token"), "{}", said(&failure));
        assert_eq!(road.source.count("GET", "/token"), 1, "{body}");
    }
}

async fn link() {
    let registry = TestRegistry::with(basic()).await;
    let other = TestRegistry::start().await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let link = format!("<{}/v2/app/tags/list?last=1>; rel=\"next\"", other.url());
    registry.rule(when("GET", "*/tags/list").set_header("link", &link));
    let client = new_client(known_to(&[&registry]));
    let repository = reference(&registry, "app").repository;
    let error = client.tags(&repository).await.unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
    assert!(other.log().is_empty());
    registry.clear_rules();
    let link = "</v2/app/tags/list?last=1>; rel=\"next\"";
    registry.rule(when("GET", "*/tags/list").nth(1).set_header("link", link));
    let tags = client.tags(&repository).await.unwrap();
    assert_eq!(tags[0].as_str(), "1");
    assert_eq!(registry.count("GET", "*/tags/list?last=1"), 1);
}

async fn mount_scope() {
    let road = Road::between(Settings::default(), bearer(Bearer::default())).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    for to in ["one:1", "two:1"] {
        let copy = road.copy_to("app:1", to).await;
        road.is_copied(copy);
    }
    let asked = road.destination.token_requests();
    let both = ["repository:one:pull", "repository:two:pull,push"];
    assert!(
        asked.iter().any(|request| {
            let mut scopes = request.scopes.clone();
            scopes.sort_unstable();
            scopes == both
        }),
        "{asked:#?}"
    );
    assert_eq!(road.source.count("GET", "/v2/app/blobs/*"), 2);
}
