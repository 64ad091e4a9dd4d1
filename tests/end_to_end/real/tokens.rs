//! Tokens that end every three seconds, at registries that take longer than that.
//!
//! `CONSIGN_TEST_MINUTES=N` makes each of these runs take about so long.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::time::Duration;

use libtest_mimic::Trial;

use super::distribution::{Access, Distribution};
use super::images::Images;
use super::token_service::{Manner, PASSWORD, Says, TokenService, USER};
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Ended, Workplace, auth_file, outcomes, until};
use crate::registry::TokenRequest;
use crate::relay::{Relay, Way};

const TOOLS: &[Tool] = &[Tool::Registry, Tool::Python];

/// How long a run takes, in seconds, unless told otherwise; tokens live for two to three.
const SECONDS: u64 = 12;
/// How many images keep a run busy for that long: some tags of each of some repositories, in turn, so that each
/// repository is asked for something from the beginning to the end.
const IMAGES: u64 = 24;
/// How many repositories they are in.
const REPOSITORIES: u64 = 4;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::tokens_that_end_unannounced_at_the_source_do_not_end_the_run",
            TOOLS,
            |tools| outlived(tools, Says::FiveMinutes, Says::Truth),
        ),
        with_tools(
            "real::tokens_that_end_unannounced_at_the_destination_do_not_end_the_run",
            TOOLS,
            |tools| outlived(tools, Says::Truth, Says::FiveMinutes),
        ),
        with_tools(
            "real::tokens_without_the_right_to_push_fail_the_line_and_name_the_side",
            TOOLS,
            no_right,
        ),
        with_tools(
            "real::a_password_that_is_changed_in_the_middle_ends_the_rest_as_not_tried",
            TOOLS,
            rotated,
        ),
    ]
}

/// Two registries with tokens, and images in the first of them.
struct Stage {
    services: [TokenService; 2],
    source: Distribution,
    destination: Distribution,
    images: Images,
    place: Workplace,
}

impl Stage {
    async fn set(tools: &Tools, set: &str, manners: [Manner; 2]) -> Self {
        let open = Distribution::start(tools, "source").await;
        let images = Images::pushed(tools, set, &open).await;
        let [one, other] = manners;
        let services = [
            TokenService::start(one).await,
            TokenService::start(other).await,
        ];
        let source = Distribution::with_tokens(tools, "source", &services[0]).await;
        let destination = Distribution::with_tokens(tools, "destination", &services[1]).await;
        let place = Workplace::new();
        place.write("list.txt", images.list());
        Self {
            services,
            source,
            destination,
            images,
            place,
        }
    }

    /// Runs from `source`, which may stand in front of the source.
    async fn mirror(&self, source: &str) -> Ended {
        let to = self.destination.host();
        let known = [source, to].map(|host| (host, USER, PASSWORD));
        self.place.write("auth.json", auth_file(&known));
        let file = self.place.path("auth.json");
        let run_it = format!("mirror -f list.txt -s {source} -d {to} -j 6 --report report.json");
        self.place
            .run_with(&run_it, &[("REGISTRY_AUTH_FILE", file)])
            .await
    }

    /// How much there is to read, in bytes.
    fn weight(&self) -> u64 {
        let blobs = self.images.blobs();
        let folder = format!("{}/blobs/sha256", self.images.layout());
        let size = |digest: &String| {
            let name = digest.trim_start_matches("sha256:");
            let found = fs::metadata(format!("{folder}/{name}"));
            found.expect("it is there").len()
        };
        blobs.iter().map(size).sum()
    }
}

/// How many tokens were given for each set of scopes.
fn given(asked: &[TokenRequest]) -> BTreeMap<Vec<String>, usize> {
    let mut given = BTreeMap::new();
    for request in asked.iter().filter(|request| request.given) {
        *given.entry(request.scopes.clone()).or_default() += 1;
    }
    given
}

fn refusals(log: &[Access]) -> usize {
    log.iter().filter(|access| access.status == 401).count()
}

async fn outlived(tools: Tools, at_source: Says, at_destination: Says) {
    let minutes = env::var("CONSIGN_TEST_MINUTES").ok();
    let minutes = minutes.map(|text| text.parse::<u64>().expect("a number of minutes"));
    let seconds = minutes.map_or(SECONDS, |minutes| minutes * 60);
    let images = IMAGES * seconds.div_ceil(SECONDS);
    let group = images / REPOSITORIES;
    let set = format!("--set tiny --images {images} --group {group} --scale 20 --unique 2");
    let manners = [at_source, at_destination].map(|says| Manner {
        says,
        delay: Duration::from_millis(30),
        ..Manner::default()
    });
    let stage = Stage::set(&tools, &set, manners).await;
    // The first tag of each repository, then the second of each.
    let list = stage.images.list();
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_by_key(|line| {
        line.rsplit_once(":v")
            .and_then(|(_, tag)| tag.parse::<u64>().ok())
    });
    stage.place.write("list.txt", lines.join("\n"));
    let rate = stage.weight() / seconds;
    let gate = Relay::start(stage.source.host()).narrow(Way::Out, rate);
    let ended = stage.mirror(&gate.host()).await.with(0);

    let report = stage.place.json("report.json");
    assert!(outcomes(&report).iter().all(|word| word == "copied"));
    assert_eq!(stage.destination.links(), stage.source.links());
    assert_eq!(stage.destination.stored(), stage.images.everything());
    let sides = [
        (&stage.source, &stage.services[0], at_source),
        (&stage.destination, &stage.services[1], at_destination),
    ];
    for (registry, service, says) in sides {
        let asked = service.asked();
        assert!(asked.iter().all(|request| request.given), "{asked:#?}");
        let given = given(&asked);
        // The run outlived the tokens of several repositories.
        let again = given.values().filter(|count| **count > 1).count();
        assert!(again > 2, "{given:#?}");
        let refused = refusals(&registry.log().await);
        match says {
            // The first refusal brings the challenge. A token that is about to end is not used, but on a
            // busy machine a request may come later than it was sent.
            Says::Truth => assert!(refused <= 8, "{refused} refusals: {ended}"),
            Says::FiveMinutes => assert!(refused > 2, "{refused} refusals: {ended}"),
        }
    }
}

async fn no_right(tools: Tools) {
    let reads = Manner {
        grants: &["pull"],
        ..Manner::default()
    };
    let set = "--set tiny --images 2 --scale 0.1";
    let stage = Stage::set(&tools, set, [Manner::default(), reads]).await;
    let to = stage.destination.host();
    let ended = stage.mirror(stage.source.host()).await.with(1);
    let ended = ended.saying(&[to]);
    let report = stage.place.json("report.json");
    let failure = &report["lines"][0]["failure"];
    assert_eq!(failure["kind"], "unauthorized", "{ended}");
    assert_eq!(failure["side"], "destination", "{ended}");
    assert!(stage.destination.stored().is_empty());
}

async fn rotated(tools: Tools) {
    let set = "--set tiny --images 40 --group 40 --scale 0.5";
    let manner = Manner {
        says: Says::FiveMinutes,
        ..Manner::default()
    };
    let stage = Stage::set(&tools, set, [manner, manner]).await;
    let rate = stage.weight() / 8;
    let gate = Relay::start(stage.source.host()).narrow(Way::Out, rate);
    let change = async {
        until("a first image", || {
            let links = stage.destination.links();
            let is_tag = |path: &String| path.contains("/_manifests/tags/");
            links.keys().any(is_tag).then_some(())
        })
        .await;
        // The tokens that were given before are good for three seconds at most.
        stage.services[1].change_password("another one");
    };
    let host = gate.host();
    let (ended, ()) = tokio::join!(stage.mirror(&host), change);
    let ended = ended.with(1);
    let report = stage.place.json("report.json");
    let outcomes = outcomes(&report);
    let count = |wanted: &str| outcomes.iter().filter(|word| *word == wanted).count();
    assert!(count("not-tried") > 0, "{ended}");
    // Once it is known that the password is no good, nobody tries again.
    let asked = stage.services[1].asked();
    let refused = asked.iter().filter(|request| !request.given).count();
    assert!(refused <= 20, "{refused} wrong passwords: {ended}");
    let lines = report["lines"].as_array().expect("lines");
    let left = lines.iter().find(|line| line["outcome"] == "not-tried");
    let failure = &left.expect("one")["failure"];
    assert_eq!(failure["side"], "destination", "{ended}");
    // What is left to do is in the list.
    let done = count("copied") + count("up-to-date");
    let listed = stage.place.lines("mirror-failed.txt").len();
    assert_eq!(listed + done, outcomes.len(), "{ended}");
    assert!(!ended.stderr.contains(PASSWORD), "{ended}");
}
