//! What a run costs that finds an image and its signatures in place: the formula that stands at
//! `transfer::Closure`.

use libtest_mimic::Trial;
use serde_json::Value;

use super::stand::{Kind, OTHER, OURS, Registry, Stand, TWO};
use crate::harness::{Tool, Tools, with_tools};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (from, from_name) in [(Kind::Debian, "docker_registry"), (Kind::Logged, "serve")] {
        for (to, to_name) in [(Kind::Debian, "docker_registry"), (Kind::Logged, "serve")] {
            let name =
                format!("signatures::what_is_up_to_date_costs_as_stated_{from_name}_to_{to_name}");
            trials.push(with_tools(&name, &[Tool::Registry], move |tools| {
                cost(tools, from, to)
            }));
        }
    }
    trials
}

/// What is attached to an index of two platforms.
#[derive(Debug, Clone, Copy)]
struct Attached {
    repository: &'static str,
    /// The formats that it is signed in.
    formats: &'static str,
    /// How many tags `.sig` there are.
    tags: usize,
    /// How many manifests have referrers.
    subjects: usize,
    /// How many referrers there are.
    referrers: usize,
}

const fn signed(repository: &'static str, formats: &'static str, counts: [usize; 3]) -> Attached {
    let [tags, subjects, referrers] = counts;
    Attached {
        repository,
        formats,
        tags,
        subjects,
        referrers,
    }
}

const IMAGES: [Attached; 4] = [
    signed("apps/none", "", [0, 0, 0]),
    signed("apps/tag", "tag", [3, 0, 0]),
    signed("apps/bundle", "bundle", [0, 3, 3]),
    signed("apps/all", "tag,referrer,bundle", [3, 3, 6]),
];

async fn cost(tools: Tools, from: Kind, to: Kind) {
    let source = Registry::start(&tools, from, "source").await;
    let destination = Registry::start(&tools, to, "destination").await;
    let sides = (&source, &destination);
    let stand = Stand::new(tools);
    let mirror = format!(
        "mirror -f list.txt -s {} -d {}",
        source.host(),
        destination.host()
    );
    let mut images = Vec::new();
    for attached in IMAGES {
        let image = stand
            .image(&source, &format!("{}:1", attached.repository), TWO)
            .await;
        stand.list(std::slice::from_ref(&image));
        if !attached.formats.is_empty() {
            let sign = format!(
                "sign -f list.txt --registry {} --key {} --signature-format {}",
                source.host(),
                OURS.private(),
                attached.formats
            );
            stand.run(&sign).await.with(0);
        }
        stand.run(&mirror).await.with(0);
        let seen = count(&stand, sides, &mirror).await;
        assert_eq!(
            seen,
            formula(&[attached], from, to),
            "{}",
            attached.repository
        );
        images.push(image);
    }
    // All at once: what is asked once for a repository is not asked for each image.
    stand.list(&images);
    let seen = count(&stand, sides, &mirror).await;
    assert_eq!(seen, formula(&IMAGES, from, to));
    // A site's own signatures beside those of the source cost two more for each tag that has one.
    stand.list(&images[1..2]);
    let sign = format!(
        "sign -f list.txt --registry {} --key {} --signature-format tag",
        destination.host(),
        OTHER.private()
    );
    stand.run(&sign).await.with(0);
    let seen = count(&stand, sides, &mirror).await;
    let (at_source, at_destination) = formula(&IMAGES[1..2], from, to);
    let tags = IMAGES[1].tags;
    assert_eq!(seen, (at_source + tags, at_destination + tags));
}

/// The requests of one run that finds all in place, at each side.
async fn count(
    stand: &Stand,
    (source, destination): (&Registry, &Registry),
    mirror: &str,
) -> (usize, usize) {
    source.forget().await;
    destination.forget().await;
    let results = stand.results(mirror, 0).await;
    let is_there = |line: &Value| line["outcome"] == "up-to-date";
    assert!(results.iter().all(is_there), "{results:#?}");
    let mut counts = Vec::new();
    for registry in [source, destination] {
        let writes = registry.writes().await;
        assert!(writes.is_empty(), "{writes:#?}");
        counts.push(registry.log().await.len());
    }
    (counts[0], counts[1])
}

/// As it stands at `transfer::Closure`, parted by side.
fn formula(images: &[Attached], from: Kind, to: Kind) -> (usize, usize) {
    let has_api = |kind| kind != Kind::Debian;
    let (mut at_source, mut at_destination) = (0, 0);
    for image in images {
        // The index, its two platforms, and the referrers.
        let looked_at = 3 + image.referrers;
        // Where there is no referrers API, each subject with referrers has a tag that lists them.
        let fallbacks = if has_api(from) { 0 } else { image.subjects };
        let referrers = if has_api(from) { looked_at } else { fallbacks };
        let index = usize::from(has_api(from) || image.tags + fallbacks > 0);
        // Its HEAD, the list of the repository's tags, and what is attached.
        at_source += 1 + 1 + referrers + index + image.tags;
        let each = if has_api(to) { 2 } else { 1 };
        at_destination += 1 + image.tags + image.subjects * each;
        // Where there is no referrers API, that is found out once for each repository; at the
        // destination only where there is anything to list.
        at_source += usize::from(!has_api(from));
        at_destination += usize::from(!has_api(to) && image.subjects > 0);
    }
    (at_source, at_destination)
}
