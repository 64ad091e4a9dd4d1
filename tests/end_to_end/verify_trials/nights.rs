//! Night after night over the same images: what the cache saves, and what it must never hide.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use consign::event::Format;
use libtest_mimic::Trial;

use super::{Court, manifest_path, put_manifest, signature_tag};
use crate::harness::trial;
use crate::program::{Ended, Workplace, outcomes};
use crate::registry::{Image, Logged, Pushed, Referrers, Settings, TestRegistry, index, when};

const VALIDATE: &str = "validate -f list.txt --key key.pub --report report.json";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify::a_second_night_asks_only_what_moved", second_night),
        trial("verify::a_tag_that_moved_is_seen", moved),
        trial("verify::a_signature_that_changed_is_seen", changed),
        trial("verify::what_may_not_be_read_any_more_is_open", revoked),
        trial("verify::what_was_deleted_is_not_there", deleted),
        trial(
            "verify::a_referrer_that_is_still_listed_is_asked_for",
            listed,
        ),
        trial("verify::without_a_cache_nothing_is_kept", without),
        trial("verify::two_runs_share_a_cache", two_at_once),
        trial("verify::a_killed_run_leaves_a_cache_that_is_good", killed),
        trial("verify::what_was_accepted_is_judged_anew", anew),
        trial("verify::a_spoiled_cache_is_read_past_and_mended", spoiled),
        trial("verify::a_cache_that_cannot_be_used_is_no_error", unusable),
        trial(
            "verify::a_registry_whose_heads_are_worth_nothing_is_read",
            headless,
        ),
        trial(
            "verify::another_registry_is_asked_for_what_it_has",
            elsewhere,
        ),
        trial("verify::what_is_copied_is_read_from_its_source", copied),
    ]
}

/// A court with an image of each kind, and a place with a list of them and the key.
struct Nights {
    court: Court,
    place: Workplace,
}

impl Nights {
    /// An empty registry.
    async fn with(settings: Settings) -> Self {
        let court = Court::with(settings).await;
        let place = Workplace::new();
        place.write("key.pub", court.key.public().to_pem());
        Self { court, place }
    }

    /// `app:tag`: two platforms, each signed under its tag. `app:bundle`: an image signed in bundles. And one like the
    /// first by its digest.
    async fn start() -> Self {
        let nights = Self::with(Settings::default()).await;
        nights.tagged("tag", "1").await;
        nights.bundled("bundle", "2").await;
        let pinned = nights.tagged("pinned", "3").await.digest;
        let host = nights.court.registry.host();
        let list = format!("{host}/app:tag\n{host}/app:bundle\n{host}/app@{pinned}\n");
        nights.place.write("list.txt", list);
        nights
    }

    /// An index of two platforms that are signed under their tags.
    async fn tagged(&self, tag: &str, layer: &str) -> Pushed {
        let court = &self.court;
        let mut children = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            let image = Image::new(&[layer, platform]).on(platform);
            let child = image.push(&court.registry, "app", None).await;
            let name = court.name(&format!("app:{tag}"));
            let layer = court.sign(Format::Tag, &name, child.digest);
            court.attach(Format::Tag, &child, &[layer]).await;
            children.push(child);
        }
        let children: Vec<&Pushed> = children.iter().collect();
        index(&court.registry, "app", Some(tag), &children).await
    }

    /// A single image with a bundle.
    async fn bundled(&self, tag: &str, layer: &str) -> Pushed {
        let court = &self.court;
        let image = Image::new(&[layer]).on("linux/amd64");
        let image = image.push(&court.registry, "app", Some(tag)).await;
        let name = court.name(&format!("app:{tag}"));
        let layer = court.sign(Format::Bundle, &name, image.digest);
        court.attach(Format::Bundle, &image, &[layer]).await;
        image
    }

    /// The list has this alone.
    fn only(&self, rest: &str) {
        self.place.write("list.txt", self.court.name(rest) + "\n");
    }

    /// What one night asks for, in the order of the alphabet, and how it ends.
    async fn night(&self, more: &str) -> (Vec<String>, Ended) {
        self.court.registry.clear_log();
        let ended = self.place.run(&format!("{VALIDATE} {more}")).await;
        let said = |request: &Logged| format!("{} {}", request.method, request.path);
        let mut asked: Vec<String> = self.court.registry.log().iter().map(said).collect();
        asked.sort();
        (asked, ended)
    }

    /// A night that ends well.
    #[track_caller]
    fn good((asked, ended): (Vec<String>, Ended)) -> Vec<String> {
        ended.with(0);
        asked
    }

    fn outcomes(&self) -> Vec<String> {
        let report = self.place.json("report.json");
        outcomes(&report)
    }

    fn cache(&self) -> PathBuf {
        self.place.path(".cache/consign/content")
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(below).collect()
}

fn gets(asked: &[String]) -> Vec<&String> {
    let is_get = |line: &&String| line.starts_with("GET");
    asked.iter().filter(is_get).collect()
}

async fn second_night() {
    let nights = Nights::start().await;
    let before = Nights::good(nights.night("--no-cache").await);
    // The first costs what it costs without.
    let first = Nights::good(nights.night("").await);
    assert_eq!(first, before);
    let second = Nights::good(nights.night("").await);
    assert_eq!(nights.outcomes(), ["accepted"; 3]);
    // Beside HEADs: what refers to the image with a bundle, and the tags that are not there.
    let court = &nights.court;
    let image = court.registry.tag("app", "bundle").unwrap();
    let lists = [
        format!("GET {}", manifest_path(&signature_tag(image))),
        format!("GET {}", manifest_path(&format!("sha256-{}", image.hex()))),
        format!("GET /v2/app/referrers/{image}"),
    ];
    let mut expected: Vec<&String> = lists.iter().collect();
    expected.sort();
    assert_eq!(gets(&second), expected, "{second:#?}");
    let pinned = court.registry.tag("app", "pinned").unwrap();
    let heads: Vec<&String> = second
        .iter()
        .filter(|line| line.starts_with("HEAD"))
        .collect();
    // The two tags, the digest, the signatures of two platforms each of two of them, and the bundle.
    assert_eq!(heads.len(), 3 + 2 * 2 + 1, "{second:#?}");
    for reference in ["tag".to_owned(), "bundle".to_owned(), pinned.to_string()] {
        let head = format!("HEAD {}", manifest_path(&reference));
        assert!(heads.contains(&&head), "{head}: {second:#?}");
    }
    // Neither names nor keys are there, and nobody else may read it.
    for file in files(&nights.cache()) {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    }
    let third = Nights::good(nights.night("--no-cache").await);
    assert_eq!(third, before);
}

async fn moved() {
    let nights = Nights::with(Settings::default()).await;
    let before = nights.tagged("tag", "1").await;
    nights.only("app:tag");
    Nights::good(nights.night("").await);
    let court = &nights.court;
    let other = Image::new(&["other"]).on("linux/amd64");
    let other = other.push(&court.registry, "app", Some("tag")).await;
    let (_, ended) = nights.night("").await;
    ended.with(3);
    assert_eq!(nights.outcomes(), ["rejected"]);
    let layer = court.sign(Format::Tag, &court.name("app:tag"), other.digest);
    court.attach(Format::Tag, &other, &[layer]).await;
    Nights::good(nights.night("").await);
    // And back again, to what is known already: nothing has to be read.
    let path = "app".parse().unwrap();
    let tag = "tag".parse().unwrap();
    let inner = court.registry.inner();
    let back = inner.add_manifest(&path, Some(&tag), &before.media_type, before.bytes.clone());
    let back = back.await.unwrap();
    assert_eq!(back, before.digest);
    let asked = Nights::good(nights.night("").await);
    assert!(gets(&asked).is_empty(), "{asked:#?}");
}

async fn changed() {
    let nights = Nights::start().await;
    let court = &nights.court;
    let image = Image::new(&["signed"]).on("linux/amd64");
    let image = image.push(&court.registry, "app", Some("signed")).await;
    nights.only("app:signed");
    let name = court.name("app:signed");
    let good = court.sign(Format::Tag, &name, image.digest);
    court
        .attach(Format::Tag, &image, std::slice::from_ref(&good))
        .await;
    Nights::good(nights.night("").await);
    // Somebody else's stands there now.
    let other = super::sign(&court.other, Format::Tag, &name, image.digest, &[]);
    court.attach(Format::Tag, &image, &[other]).await;
    let (_, ended) = nights.night("").await;
    ended.with(3);
    court.attach(Format::Tag, &image, &[good]).await;
    Nights::good(nights.night("").await);
    // None at all.
    let gone = manifest_path(&signature_tag(image.digest));
    court.registry.rule(when("*", &gone).respond(404));
    let (_, ended) = nights.night("").await;
    ended.with(3);
    assert_eq!(nights.outcomes(), ["rejected"]);
}

async fn revoked() {
    let nights = Nights::start().await;
    Nights::good(nights.night("").await);
    for status in [401, 403] {
        let rule = nights
            .court
            .registry
            .rule(when("*", "/v2/app/*").respond(status));
        let (_, ended) = nights.night("").await;
        ended.with(4);
        assert_eq!(nights.outcomes(), ["undetermined"; 3], "{status}");
        assert!(rule.hits() > 0);
        nights.court.registry.clear_rules();
    }
    // Of signatures alone.
    nights.court.registry.rule(when("*", "*.sig").respond(403));
    nights.only("app:tag");
    let (_, ended) = nights.night("").await;
    ended.with(4);
    nights.court.registry.clear_rules();
    Nights::good(nights.night("").await);
}

async fn deleted() {
    let nights = Nights::start().await;
    Nights::good(nights.night("").await);
    let court = &nights.court;
    let pinned = court.registry.tag("app", "pinned").unwrap();
    for reference in ["tag".to_owned(), "bundle".to_owned(), pinned.to_string()] {
        court
            .registry
            .rule(when("*", &manifest_path(&reference)).respond(404));
    }
    let (_, ended) = nights.night("").await;
    ended.with(1);
    assert_eq!(nights.outcomes(), ["failed"; 3]);
}

/// One that was deleted may still be listed: by a registry whose list is old, and by clients who keep it.
async fn listed() {
    let default = Settings::default();
    for referrers in [default.referrers, Referrers::Unknown] {
        let nights = Nights::with(Settings {
            referrers,
            ..Settings::default()
        })
        .await;
        let court = &nights.court;
        let image = Image::new(&["2"]).on("linux/amd64");
        let image = image.push(&court.registry, "app", Some("1")).await;
        let layer = court.sign(Format::Bundle, &court.name("app:1"), image.digest);
        let referrer = court.attach(Format::Bundle, &image, &[layer]).await;
        if referrers == Referrers::Unknown {
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let list = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [{ "mediaType": media_type, "digest": referrer, "size": 1000 }],
            });
            let tag = format!("sha256-{}", image.digest.hex());
            put_manifest(&court.registry, "app", Some(&tag), &list).await;
        }
        nights.only("app:1");
        Nights::good(nights.night("").await);
        let second = Nights::good(nights.night("").await);
        let head = format!("HEAD {}", manifest_path(&referrer));
        assert!(second.contains(&head), "{referrers:?}: {second:#?}");
        court
            .registry
            .rule(when("*", &manifest_path(&referrer)).respond(404));
        let (_, ended) = nights.night("").await;
        ended.with(3);
    }
}

async fn without() {
    let nights = Nights::start().await;
    Nights::good(nights.night("--no-cache").await);
    assert!(!nights.cache().exists());
    // Nor does who has no home, or only wants to see a plan.
    let place = &nights.place;
    place.run(&format!("{VALIDATE} --dry-run")).await.with(0);
    place
        .command(VALIDATE)
        .env_remove("HOME")
        .output()
        .await
        .unwrap();
    assert!(!nights.cache().exists());
    // It is where it is wanted.
    Nights::good(nights.night("--cache-dir here/cache").await);
    assert!(!files(&place.path("here/cache")).is_empty());
    let xdg = [("XDG_CACHE_HOME", place.path("xdg"))];
    place.run_with(VALIDATE, &xdg).await.with(0);
    assert!(!files(&place.path("xdg/consign/content")).is_empty());
    assert!(!nights.cache().exists());
}

async fn two_at_once() {
    let nights = Nights::start().await;
    let place = &nights.place;
    for _ in 0..3 {
        let commands =
            ["a", "b", "c"].map(|name| format!("validate -f list.txt --key key.pub -o {name}.txt"));
        let runs = commands.iter().map(|command| place.run(command));
        for ended in futures::future::join_all(runs).await {
            ended.with(0);
        }
    }
    let asked = Nights::good(nights.night("").await);
    assert_eq!(gets(&asked).len(), 3, "{asked:#?}");
    let unfinished = |file: &PathBuf| file.to_str().unwrap().contains(".new-");
    assert!(!files(&nights.cache()).iter().any(unfinished));
}

async fn killed() {
    let nights = Nights::start().await;
    let before = Nights::good(nights.night("--no-cache").await);
    for nth in 1..=before.len() {
        let stalled = nights
            .court
            .registry
            .rule(when("*", "/v2/app/*").nth(nth).stall());
        let mut running = nights.place.start("validate -f list.txt --key key.pub");
        tokio::select! {
            () = stalled.hit(1) => {}
            // It asks for less and less.
            () = running.ends() => {}
        }
        running.signal_if_there("KILL").await;
        running.ends().await;
        nights.court.registry.clear_rules();
    }
    Nights::good(nights.night("").await);
    let asked = Nights::good(nights.night("").await);
    assert_eq!(gets(&asked).len(), 3, "{asked:#?}");
}

async fn anew() {
    let nights = Nights::start().await;
    Nights::good(nights.night("").await);
    let other = nights.court.other.public().to_pem();
    nights.place.write("key.pub", other);
    let (asked, ended) = nights.night("").await;
    ended.with(3);
    assert_eq!(nights.outcomes(), ["rejected"; 3]);
    let reads = |line: &&String| line.contains("/blobs/");
    assert_eq!(asked.iter().filter(reads).count(), 0, "{asked:#?}");
}

async fn spoiled() {
    let nights = Nights::start().await;
    let first = Nights::good(nights.night("").await);
    let kept = files(&nights.cache());
    assert!(kept.len() > 5, "{kept:?}");
    for file in &kept {
        if !file.ends_with("tags") {
            let mut bytes = fs::read(file).unwrap();
            for byte in bytes.iter_mut().filter(|byte| **byte == b'"') {
                *byte = b' ';
            }
            fs::write(file, bytes).unwrap();
        }
    }
    // Each is asked for as if it were not there, and put right.
    let second = Nights::good(nights.night("").await);
    for get in gets(&first) {
        assert!(second.contains(get), "{get}: {second:#?}");
    }
    let third = Nights::good(nights.night("").await);
    assert_eq!(gets(&third).len(), 3, "{third:#?}");
    // Neither does it matter what stands among the tags.
    fs::write(nights.cache().join("tags"), b"\0\xff nonsense\n").unwrap();
    assert_eq!(Nights::good(nights.night("").await).len(), third.len());
}

async fn unusable() {
    let nights = Nights::start().await;
    let place = &nights.place;
    fs::create_dir(place.path("real")).unwrap();
    symlink(place.path("real"), place.path("link")).unwrap();
    place.write("file", "");
    for folder in ["link", "file", "/proc/nowhere"] {
        let (_, ended) = nights.night(&format!("--cache-dir {folder}")).await;
        let said = ended.stderr.matches("warning: the cache").count();
        assert_eq!(said, 1, "{folder}: {}", ended.stderr);
        ended.with(0);
    }
    assert!(files(&place.path("real")).is_empty());
}

async fn headless() {
    for status in [404, 405, 403] {
        let nights = Nights::start().await;
        let rule = nights
            .court
            .registry
            .rule(when("HEAD", "*").respond(status));
        Nights::good(nights.night("").await);
        Nights::good(nights.night("").await);
        assert_eq!(nights.outcomes(), ["accepted"; 3], "{status}");
        assert!(rule.hits() > 0);
    }
}

/// The same bytes at another registry: they are not read again, but they must be there.
async fn elsewhere() {
    let nights = Nights::start().await;
    nights.only("app:tag");
    Nights::good(nights.night("").await);
    let other = TestRegistry::start().await;
    let name = format!("{}/app:tag", other.host());
    nights.place.write("other.txt", format!("{name}\n"));
    let exact = nights.court.name("app");
    let validate = format!("validate -f other.txt --key key.pub --exact-repository {exact}");
    // Nothing is there.
    nights.place.run(&validate).await.with(1);
    let mirror = format!("mirror -f list.txt -d {}", other.host());
    nights.place.run(&mirror).await.with(0);
    other.clear_log();
    nights.place.run(&validate).await.with(0);
    assert_eq!(other.count("GET", "*/blobs/*"), 0, "{}", other.log_text());
    other.rule(when("*", "*.sig").respond(404));
    nights.place.run(&validate).await.with(3);
}

async fn copied() {
    let nights = Nights::start().await;
    nights.only("app:tag");
    let source = &nights.court.registry;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let destination = TestRegistry::start().await;
        let mirror = format!(
            "mirror -f list.txt -d {} --verify-key key.pub",
            destination.host()
        );
        source.clear_log();
        nights.place.run(&mirror).await.with(0);
        let count = |path| source.count("GET", path);
        asked.push(["*/blobs/*", "*.sig", "*/manifests/sha256:*"].map(count));
    }
    // Two layers and a config of each of two platforms, and their signatures; those are read once more to be
    // verified, the first time.
    let [first, second] = <[_; 2]>::try_from(asked).unwrap();
    assert_eq!((first[0], first[1]), (8 + 2, 2), "{}", source.log_text());
    assert_eq!((second[0], second[1]), (8, 0), "{}", source.log_text());
    assert_eq!(first[2], second[2]);
    assert!(second[2] >= 2, "{}", source.log_text());
}
