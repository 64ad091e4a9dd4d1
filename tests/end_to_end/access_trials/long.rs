//! Transfers that take longer than the tokens live that they began with.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::trial;
use crate::program::{Workplace, auth_file, outcomes};
use crate::registry::{Auth, Bearer, Contents, Image, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "access::an_upload_outlives_the_tokens_of_both_sides",
        outlived,
    )]
}

/// Tokens live for two seconds, and the registries mean it; a blob takes three.
async fn outlived() {
    const PIECE: usize = 20_000;
    const PIECES: usize = 30;
    let short = || Settings {
        auth: Auth::Bearer(Bearer {
            expires_in: Some(Duration::from_secs(2)),
            ..Bearer::default()
        }),
        ..Settings::default()
    };
    let source = TestRegistry::with(short()).await;
    let destination = TestRegistry::with(short()).await;
    let mut layer = vec![0; PIECE * PIECES];
    fastrand::Rng::with_seed(1).fill(&mut layer);
    for tag in ["1", "2"] {
        let image = Image::of_blobs([layer.clone(), tag.into()]);
        image.push(&source, "team/app", Some(tag)).await;
    }
    let slow = when("GET", "*/blobs/*").trickle(PIECE, Duration::from_millis(100));
    source.rule(slow);
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\nteam/app:2\n");
    let (from, to) = (source.host(), destination.host());
    let known = [from.as_str(), to.as_str()].map(|host| (host, "user", "password"));
    place.write("auth.json", auth_file(&known));
    let run_it = format!("mirror -f list.txt -s {from} -d {to} -j 1 --report report.json");
    let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
    place.run_with(&run_it, &file).await.with(0);
    assert_eq!(outcomes(&place.json("report.json")), ["copied", "copied"]);
    assert_eq!(
        Contents::of(&source, "team/app").await,
        Contents::of(&destination, "team/app").await
    );
    for registry in [&source, &destination] {
        let asked = registry.token_requests();
        assert!(asked.len() > 1, "{}", registry.log_text());
        assert!(asked.iter().all(|request| request.given), "{asked:#?}");
        // A token that is about to end is not used: only the challenge was a refusal.
        let refusals = registry
            .log()
            .iter()
            .filter(|line| line.status == Some(401))
            .count();
        assert!(refusals <= 1, "{}", registry.log_text());
    }
}
