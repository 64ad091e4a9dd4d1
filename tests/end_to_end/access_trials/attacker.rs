//! An attacker's registry, which tries to get what is meant for others.
//!
//! Each advisory that concerns what a client tells whom has a trial, with the neighbour that has to keep
//! working. Those that are elsewhere are not written twice:
//!
//! | Advisory | Trial |
//! | --- | --- |
//! | CVE-2020-15157, GHSA-qvqc-4c52-x6qp: `urls` of layers | `blobs::urls_of_layers_are_never_followed`, `attacker::a_place_that_asks_who_it_is_is_not_told` |
//! | CVE-2026-48978, GHSA-28r5-37g7-p6mp: realms | `auth::a_realm_that_steals_gets_nothing`, `auth::a_realm_of_its_own_port_is_served`, `attacker::a_realm_without_tls_gets_nothing_of_a_registry_with_tls` |
//! | CVE-2026-50151, GHSA-jxpm-75mh-9fp7: upload `Location` | `auth::an_upload_elsewhere_gets_no_credentials`, `uploads::a_location_keeps_its_query`, `attacker::an_upload_elsewhere_that_asks_is_not_told` |
//! | GHSA-vh4v-2xq2-g5cg: redirects to another port, or out of TLS | `auth::a_redirect_takes_no_credentials_along`, `attacker::a_redirect_out_of_tls_is_not_followed` |
//! | GHSA-f36w-mj3v-6jqv: sizes | `blobs::a_size_beyond_all_reason_is_refused`, `attacker::sizes_of_children_beyond_all_reason_are_refused` |
//! | ggcr #2292 and others: redirects of token services | `attacker::a_token_service_that_sends_elsewhere_is_not_followed` |
//! | the same: `Link` to elsewhere | `auth::a_link_to_elsewhere_is_not_followed` |
//! | a chain of redirects there and back | `auth::credentials_do_not_come_back_after_leaving` |
//! | GHSA-9m43-p3cx-w8j5: credentials for all | `access::lookup_nobody_without_an_entry_is_told_anything` |
//! | CVE-2026-5222: names that are almost the same | `access::lookup_only_the_exact_name_has_the_credential` |
//! | CVE-2024-3727: digests that are paths | `manifests::what_is_no_manifest_is_refused`, `manifests::a_wrong_digest_header_is_not_trusted`, `attacker::digests_that_are_paths_are_asked_of_nobody` |
//! | CVE-2021-41190: two readings | `manifests::what_two_readers_read_differently_is_refused`, `attacker::a_type_that_changes_between_two_answers_is_refused` |

mod content;
mod places;

use consign::event::{Failure, Kind};
use consign::oci::Digest;
use consign::registry::{Settings as Client, Tls};
use http::header::AUTHORIZATION;
use libtest_mimic::Trial;

use super::secrets::Secrets;
use crate::faults::{Road, password, quick, said};
use crate::harness::trial;
use crate::registry::{
    AfterRefusal, Auth, Bearer, Contents, Image, Rule, Settings, TestRegistry, index, when,
};

const SOURCE: (&str, &str) = ("reader", "pass-of-the-source");
const DESTINATION: (&str, &str) = ("writer", "pass-of-the-destination");

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "attacker::a_place_that_asks_who_it_is_is_not_told",
            places::place_asks,
        ),
        trial(
            "attacker::a_realm_without_tls_gets_nothing_of_a_registry_with_tls",
            places::plain_realm,
        ),
        trial(
            "attacker::a_realm_gets_the_credential_of_its_own_registry_alone",
            places::foreign_realm,
        ),
        trial(
            "attacker::an_upload_elsewhere_that_asks_is_not_told",
            places::upload_asks,
        ),
        trial(
            "attacker::a_redirect_out_of_tls_is_not_followed",
            places::out_of_tls,
        ),
        trial(
            "attacker::sizes_of_children_beyond_all_reason_are_refused",
            content::sizes,
        ),
        trial(
            "attacker::a_token_service_that_sends_elsewhere_is_not_followed",
            places::moved_service,
        ),
        trial(
            "attacker::digests_that_are_paths_are_asked_of_nobody",
            content::paths,
        ),
        trial(
            "attacker::a_type_that_changes_between_two_answers_is_refused",
            content::types,
        ),
        trial(
            "attacker::a_password_is_not_sent_where_tokens_were_asked_for",
            downgrade,
        ),
        trial(
            "attacker::all_temptations_of_one_run_bring_nothing",
            everything,
        ),
    ]
}

fn secrets() -> Secrets {
    Secrets::of(&[SOURCE, DESTINATION])
}

fn guarded(auth: Auth) -> Settings {
    Settings {
        auth,
        ..Settings::default()
    }
}

fn basic((user, password): (&'static str, &'static str)) -> Auth {
    Auth::Basic(user, password)
}

fn tokens(login: (&'static str, &'static str)) -> Bearer {
    Bearer {
        credentials: Some(login),
        ..Bearer::default()
    }
}

/// The two registries, each known with its own password, and an attacker nobody gave one.
struct Stage {
    road: Road,
    attacker: TestRegistry,
}

impl Stage {
    async fn between(from: Settings, to: Settings) -> Self {
        Self::with(from, to, TestRegistry::start().await).await
    }

    async fn with(from: Settings, to: Settings, attacker: TestRegistry) -> Self {
        let source = TestRegistry::with(from).await;
        let destination = TestRegistry::with(to).await;
        let settings = known(&source, &destination);
        let road = Road::of(source, destination, settings);
        Self { road, attacker }
    }

    async fn image(&self, tag: &str) -> crate::registry::Pushed {
        let layers = ["layer", tag];
        Image::new(&layers)
            .push(&self.road.source, "app", Some(tag))
            .await
    }

    /// The source says from now on that it keeps a layer at `store`.
    fn keeps_at(&self, layer: Digest, store: &TestRegistry) {
        let path = blob_path(layer);
        let place = format!("{}{path}", store.url());
        self.road.source.rule(when("GET", &path).redirect(&place));
    }

    /// Refused, and nothing told to the attacker.
    async fn refuses(&self, tag: &str) -> Failure {
        let failure = self.road.failed(&format!("app:{tag}")).await;
        secrets().never_reached(&self.attacker, "the attacker");
        failure
    }

    /// Refused without asking the attacker anything.
    async fn never_goes(&self, tag: &str) {
        let failure = self.refuses(tag).await;
        assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
        let log = self.attacker.log_text();
        assert!(log.is_empty(), "{log}");
    }

    /// Copied as it is, and nothing told to the attacker.
    async fn copies(&self, tag: &str) {
        self.road.copied(&format!("app:{tag}")).await;
        secrets().never_reached(&self.attacker, "the attacker");
        let there = Contents::of(&self.road.destination, "app").await;
        let here = Contents::of(&self.road.source, "app").await;
        assert_eq!(there.tags.get(tag), here.tags.get(tag));
    }
}

fn known(source: &TestRegistry, destination: &TestRegistry) -> Client {
    let mut settings = quick();
    for (registry, (user, secret)) in [(source, SOURCE), (destination, DESTINATION)] {
        let host = registry.host().parse().expect("a registry");
        settings.insert(&host, &password(user, secret));
    }
    settings.set_tls(Tls::Unverified);
    settings
}

fn blob_path(digest: Digest) -> String {
    format!("/v2/app/blobs/{digest}")
}

/// Answers like somebody who has not been told who asks.
fn asks(path: &str, challenge: &str) -> Rule {
    let refuses = when("*", path).respond(401);
    refuses.header("www-authenticate", challenge)
}

/// The challenges of one who wants to know, by password or by token.
fn challenges(attacker: &TestRegistry) -> [String; 2] {
    let realm = format!("{}/token", attacker.url());
    [
        "Basic realm=\"who\"".to_owned(),
        format!("Bearer realm=\"{realm}\",service=\"who\",scope=\"repository:app:pull\""),
    ]
}

/// A registry that asked for tokens, refuses one and asks for the password itself.
async fn downgrade() {
    // Harbor does so with every token that it does not know; a new one is the answer.
    let harbor = |uses| {
        guarded(Auth::Bearer(Bearer {
            uses: Some(uses),
            after_refusal: AfterRefusal::Basic,
            ..tokens(SOURCE)
        }))
    };
    // Fewer uses, and requests at once could spend each other's tokens more often than one is tried.
    let stage = Stage::between(harbor(6), Settings::default()).await;
    let one = stage.image("1").await;
    let two = stage.image("2").await;
    index(&stage.road.source, "app", Some("3"), &[&one, &two]).await;
    stage.copies("3").await;
    assert!(stage.road.source.token_requests().len() > 1);
    let told = |registry: &TestRegistry| {
        let requests = registry.requests("*", "/v2/*");
        requests
            .iter()
            .filter(|line| line.scheme() == "Basic")
            .count()
    };
    assert_eq!(told(&stage.road.source), 0, "{}", stage.road.logs());

    // One that asks for it from some request on, whatever it is told.
    let stage = Stage::between(guarded(Auth::Bearer(tokens(SOURCE))), Settings::default()).await;
    stage.image("1").await;
    let asks = when("*", "/v2/app/*").from(3).respond(401);
    stage
        .road
        .source
        .rule(asks.header("www-authenticate", "Basic realm=\"who\""));
    let failure = stage.refuses("1").await;
    assert_eq!(failure.kind, Kind::Unauthorized, "{}", said(&failure));
    assert_eq!(told(&stage.road.source), 0, "{}", stage.road.logs());
    assert!(stage.road.source.log().len() < 40, "{}", stage.road.logs());

    // Its neighbour: one that asked for it from the start.
    let stage = Stage::between(guarded(basic(SOURCE)), Settings::default()).await;
    stage.image("1").await;
    stage.copies("1").await;
    assert!(told(&stage.road.source) > 0);
}

/// All of it in one run: what the attacker has at its end is nothing.
async fn everything() {
    let identity = "identity-token-of-the-source";
    let stage = Stage::between(
        guarded(Auth::Bearer(Bearer {
            identity_token: Some(identity),
            ..tokens(SOURCE)
        })),
        guarded(basic(DESTINATION)),
    )
    .await;
    let (from, to) = (&stage.road.source, &stage.road.destination);
    let attacker = &stage.attacker;
    let url = attacker.url();
    for challenge in challenges(attacker) {
        for (tag, rule) in [
            (
                "blob",
                when("GET", "*/blobs/*").redirect(&format!("{url}/blob")),
            ),
            (
                "manifest",
                when("GET", "*/manifests/*").redirect(&format!("{url}/manifest")),
            ),
            (
                "head",
                when("HEAD", "*/manifests/*").redirect(&format!("{url}/head")),
            ),
            (
                "token",
                when("*", "/token").redirect(&format!("{url}/token")),
            ),
            (
                "hop",
                when("GET", "*/blobs/*").redirect(&format!("{url}/hop")),
            ),
        ] {
            stage.image(tag).await;
            from.revoke_tokens();
            from.clear_rules();
            attacker.clear_rules();
            from.rule(rule);
            let back = format!("{}/v2/app/manifests/{tag}", from.url());
            attacker.rule(when("*", "/hop").redirect(&back));
            attacker.rule(asks("*", &challenge));
            drop(stage.road.copy(&format!("app:{tag}")).await);
        }
        from.clear_rules();
        for (tag, rule) in [
            ("post", when("POST", "*").redirect(&format!("{url}/post"))),
            ("put", when("PUT", "*").redirect(&format!("{url}/put"))),
            (
                "place",
                when("POST", "*").set_header("location", &format!("{url}/place")),
            ),
        ] {
            stage.image(tag).await;
            to.clear_rules();
            to.rule(rule);
            drop(stage.road.copy(&format!("app:{tag}")).await);
        }
        to.clear_rules();
    }
    assert!(
        attacker.log().len() > 5,
        "it was hardly asked: {}",
        attacker.log_text()
    );
    secrets().never_reached(attacker, "the attacker");
    Secrets::of(&[("", identity)]).never_reached(attacker, "the attacker");
    for line in attacker.log() {
        assert!(line.header(AUTHORIZATION).is_empty(), "{line}");
        assert!(line.headers.get("cookie").is_none(), "{line}");
    }
    Secrets::of(&[SOURCE]).never_reached(to, "the destination");
    Secrets::of(&[DESTINATION]).never_reached(from, "the source");
    stage.copies("blob").await;
}
