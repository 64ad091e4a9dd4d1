//! What the closure of an image costs that is there already, counted exactly: the formula stands at
//! `transfer::Closure`.

use consign::event::Outcome;
use consign::transfer::{Closure, Options};
use libtest_mimic::Trial;

use super::stage::{Api, SIDES, Stage, put_tag, refer, with, without_signatures};
use crate::faults::{Road, manifest_path};
use crate::harness::trial;
use crate::registry::{Image, TestRegistry, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("closure::the_cost_of_a_whole_one_is_exact", whole),
        trial("closure::the_cost_of_none_is_exact", bare),
        trial("closure::a_shared_subject_costs_once", shared),
        trial("closure::many_ask_a_registry_without_the_api_once", probe),
        trial("closure::an_image_alone_costs_a_head_at_each_side", alone),
        trial("closure::the_cost_of_leaving_signatures_is_exact", stripped),
    ]
}

/// The requests of one run, each kind counted.
#[derive(Debug, PartialEq, Eq, Default)]
struct Asked {
    tags: usize,
    referrers: usize,
    heads: usize,
    gets: usize,
    all: usize,
}

impl Asked {
    fn at(registry: &TestRegistry) -> Self {
        Self {
            tags: registry.count("GET", "*/tags/list"),
            referrers: registry.count("GET", "*/referrers/*"),
            heads: registry.count("HEAD", "*/manifests/*"),
            gets: registry.count("GET", "*/manifests/*"),
            all: registry.log().len(),
        }
    }

    fn is(self, (tags, referrers, heads, gets): (usize, usize, usize, usize), road: &Road) {
        let expected = Self {
            tags,
            referrers,
            heads,
            gets,
            all: tags + referrers + heads + gets,
        };
        assert_eq!(self, expected, "{}", road.logs());
    }
}

async fn whole() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        stage.whole().await;
        stage.copy(&Options::default()).await;
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&Options::default()).await);
        // The index, 3 manifests in it, 3 referrers; of these 3 have referrers. 5 tags.
        let (manifests, referred, tags) = (7, 3, 5);
        let source = match stage.from {
            Api::Has => (1, manifests, 1 + tags, 1),
            Api::Lacks => (1, 1, 1 + tags, 1 + referred),
        };
        let destination = match stage.to {
            Api::Has => (0, referred, 1 + tags, referred),
            Api::Lacks => (0, 1, 1 + tags, referred),
        };
        Asked::at(&stage.road.source).is(source, &stage.road);
        Asked::at(&stage.road.destination).is(destination, &stage.road);
    }
}

/// Nothing is attached to anything.
async fn bare() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let source = &stage.road.source;
        let amd = Image::new(&["amd"]).push(source, "app", Some("amd")).await;
        let arm = Image::new(&["arm"]).push(source, "app", None).await;
        index(source, "app", Some("1"), &[&amd, &arm]).await;
        let options = Options::default();
        stage.copy(&options).await;
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&options).await);
        let source = match stage.from {
            Api::Has => (1, 3, 1, 1),
            // Not even the index is read.
            Api::Lacks => (1, 1, 1, 0),
        };
        Asked::at(&stage.road.source).is(source, &stage.road);
        Asked::at(&stage.road.destination).is((0, 0, 1, 0), &stage.road);

        // A single image, by its digest.
        stage.road.copied("app:amd").await;
        stage.road.next_run();
        let name = format!("app:amd@{}", amd.digest);
        let outcome = stage.road.copy_to(&name, "app:amd").await.unwrap();
        stage.wrote_nothing(&outcome);
        Asked::at(&stage.road.source).is((1, 1, 0, 0), &stage.road);
        Asked::at(&stage.road.destination).is((0, 0, 1, 0), &stage.road);
    }
}

/// Two tags of one image: what is attached is looked at once, and brought once.
async fn shared() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        let source = &stage.road.source;
        index(
            source,
            "app",
            Some("2"),
            &[&whole.amd, &whole.arm, &whole.attested],
        )
        .await;
        for run in 0..2 {
            let road = &stage.road;
            let (one, two) = tokio::join!(road.copy("app:1"), road.copy("app:2"));
            for outcome in [one.unwrap(), two.unwrap()] {
                assert_eq!(matches!(outcome, Outcome::UpToDate(_)), run == 1);
            }
            for subject in [&whole.all, &whole.amd, &whole.sbom] {
                let path = format!("/v2/app/referrers/{}", subject.digest);
                assert!(stage.road.source.count("GET", &path) <= 1);
            }
            assert_eq!(stage.road.source.count("GET", "*/tags/list"), 1);
            for referrer in [&whole.sbom, &whole.note] {
                let path = manifest_path(referrer.digest);
                let put = stage.road.destination.count("PUT", &path);
                assert_eq!(put, 1 - run, "{}", stage.road.logs());
            }
            stage.road.next_run();
        }
        stage.is_same().await;
    }
}

async fn probe() {
    let mut stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let names: Vec<String> = (0..12).map(|tag| format!("app:{tag}")).collect();
    for (tag, name) in names.iter().enumerate() {
        Image::new(&[name])
            .push(&stage.road.source, "app", Some(&tag.to_string()))
            .await;
    }
    for _ in 0..2 {
        let copies = names.iter().map(|name| stage.road.copy(name));
        for outcome in futures::future::join_all(copies).await {
            outcome.unwrap();
        }
        assert_eq!(stage.road.source.count("GET", "*/referrers/*"), 1);
        assert_eq!(stage.road.source.count("GET", "*/tags/list"), 1);
        assert_eq!(stage.road.destination.count("GET", "*/referrers/*"), 0);
        stage.road.next_run();
    }
}

/// What a run cost before anything attached was looked at.
async fn alone() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        let options = with(Closure::None);
        stage.wrote(&stage.copy(&options).await);
        Asked::at(&stage.road.source).is_manifests(4, &stage.road);
        assert_eq!(stage.road.destination.count("PUT", &manifest_path("*")), 4);
        let there = crate::registry::Contents::of(&stage.road.destination, "app").await;
        assert_eq!(there.manifests.len(), 4);
        assert_eq!(there.tags.len(), 1);
        assert_eq!(there.tags["1"], whole.all.digest);
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&options).await);
        Asked::at(&stage.road.source).is((0, 0, 1, 0), &stage.road);
        Asked::at(&stage.road.destination).is((0, 0, 1, 0), &stage.road);
    }
}

impl Asked {
    /// So many manifests were read, and blobs, and nothing else.
    fn is_manifests(&self, gets: usize, road: &Road) {
        let blobs = road.source.count("GET", "*/blobs/*");
        assert_eq!(
            (self.gets, self.all),
            (gets, gets + blobs),
            "{}",
            road.logs()
        );
    }
}

/// Each referrer is opened at both sides, and signatures are counted at both.
async fn stripped() {
    let mut stage = Stage::between((Api::Has, Api::Has)).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("one", "s1")]).await;
    put_tag(source, image.digest, "att", &[("att", "")]).await;
    refer(stage.source(), &image, "application/x.sbom", "sbom").await;
    put_tag(destination, image.digest, "sig", &[("site", "own")]).await;
    let options = without_signatures(consign::transfer::Prune::No);
    stage.copy(&options).await;
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&options).await);
    // The image and its referrer. At the source: the signature, to count it, and the referrer.
    Asked::at(&stage.road.source).is((1, 2, 1 + 1, 2), &stage.road);
    // To list its own for the image, and both to look for signatures; again the signature and the
    // referrer.
    Asked::at(&stage.road.destination).is((1, 1 + 2, 1 + 1, 2), &stage.road);
}
