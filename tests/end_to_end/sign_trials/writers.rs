//! Several writers at once.

use std::path::Path;

use consign::event::Format;
use consign::sigstore::PrivateKey;
use consign::verify;
use libtest_mimic::Trial;

use super::{ALL, Subject, added, key, only, process};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::real::distribution::Distribution;
use crate::registry::{Image, Logged, Referrers, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("sign::two_keys_at_once_lose_nothing", two_keys),
        trial("sign::one_key_at_once_signs_once", one_key),
        trial(
            "sign::another_hosts_write_in_between_is_repaired",
            two_hosts,
        ),
        with_tools(
            "sign::two_keys_at_once_lose_nothing_at_a_real_registry",
            &[Tool::Registry, Tool::Crane],
            two_keys_for_real,
        ),
    ]
}

/// How often what may be lost is tried.
const ROUNDS: usize = 20;

/// How many signatures of each key there are.
async fn count(subject: &Subject, keys: &[&PrivateKey], format: Format) -> Vec<usize> {
    let mut counts = Vec::new();
    for key in keys {
        let pinned = subject.pinned();
        let keys = consign::sigstore::Signers::Keys(vec![key.public().clone()]);
        let found = verify::signatures(&process(None), &pinned, &keys, format).await;
        counts.push(found.expect("it answers").len());
    }
    counts
}

/// Signs once by each key at the same time, each in a process of its own.
async fn at_once(subject: &Subject, keys: [&PrivateKey; 2], format: Format, locks: &Path) -> usize {
    let (one, other) = (process(Some(locks)), process(Some(locks)));
    let formats = only(format);
    let (first, second) = tokio::join!(
        subject.sign_with(&one, keys[0], &formats),
        subject.sign_with(&other, keys[1], &formats),
    );
    let all = [added(first), added(second)].concat();
    all.iter().filter(|(_, added)| *added).count()
}

async fn two_keys() {
    let locks = tempfile::tempdir().expect("a folder");
    for referrers in [Referrers::Listed, Referrers::Unknown] {
        let settings = Settings {
            referrers,
            ..Settings::default()
        };
        let registry = TestRegistry::with(settings).await;
        let (one, other) = (key(), key());
        for round in 0..ROUNDS {
            let layer = round.to_string();
            let image = Image::new(&[&layer]).push(&registry, "app", None).await;
            let subject = Subject::new(&registry.host(), "app", &image);
            for format in ALL {
                let added = at_once(&subject, [&one, &other], format, locks.path()).await;
                assert_eq!(added, 2);
                assert_eq!(count(&subject, &[&one, &other], format).await, [1, 1]);
            }
        }
    }
}

async fn one_key() {
    let locks = tempfile::tempdir().expect("a folder");
    for referrers in [Referrers::Listed, Referrers::Unknown] {
        let settings = Settings {
            referrers,
            ..Settings::default()
        };
        let registry = TestRegistry::with(settings).await;
        let key = key();
        for round in 0..ROUNDS {
            let layer = round.to_string();
            let image = Image::new(&[&layer]).push(&registry, "app", None).await;
            let subject = Subject::new(&registry.host(), "app", &image);
            for format in ALL {
                let added = at_once(&subject, [&key, &key], format, locks.path()).await;
                assert_eq!(added, 1, "{format:?}");
                assert_eq!(count(&subject, &[&key], format).await, [1]);
            }
        }
    }
}

async fn two_hosts() {
    let registry = TestRegistry::start().await;
    let image = Image::new(&["layer"]).push(&registry, "app", None).await;
    let subject = Subject::new(&registry.host(), "app", &image);
    let (slow, quick) = (key(), key());
    let path = format!("*/manifests/{}", subject.tag());
    let formats = only(Format::Tag);
    // Both read "nothing there". The slow one's write is held until the quick one's is done, and
    // replaces it; the quick one reads again only then.
    let write = registry.rule(when("PUT", &path).nth(1).stall());
    let (there, here) = (process(None), process(None));
    let slow_one = subject.sign_with(&there, &slow, &formats);
    let quick_one = async {
        write.hit(1).await;
        // It asks what is there, again under its lock, and after its write.
        let read_again = registry.rule(when("GET", &path).nth(3).stall());
        let signing = subject.sign_with(&here, &quick, &formats);
        let control = async {
            let written = |log: &[Logged]| {
                let puts = log.iter().filter(|request| request.is("PUT", &path));
                puts.filter(|request| request.answered.is_some()).count()
            };
            read_again.hit(1).await;
            assert_eq!(written(&registry.log()), 1, "{}", registry.log_text());
            write.release();
            registry.wait(|log| written(log) == 2).await;
            read_again.release();
        };
        tokio::join!(signing, control).0
    };
    let (first, second) = tokio::join!(slow_one, quick_one);
    assert_eq!(added(first), [(Format::Tag, true)]);
    assert_eq!(added(second), [(Format::Tag, true)]);
    let counts = count(&subject, &[&slow, &quick], Format::Tag).await;
    assert_eq!(counts, [1, 1], "{}", registry.log_text());
}

async fn two_keys_for_real(tools: Tools) {
    let registry = Distribution::start(&tools, "registry").await;
    let source = TestRegistry::start().await;
    let locks = tempfile::tempdir().expect("a folder");
    let (one, other) = (key(), key());
    for round in 0..ROUNDS {
        let layer = round.to_string();
        let image = Image::new(&[&layer]).push(&source, "app", Some("1")).await;
        let from = format!("{}/app:1", source.host());
        let to = format!("{}/app:{round}", registry.host());
        tools.run(Tool::Crane, ["copy", &from, &to]).await;
        let subject = Subject::new(registry.host(), "app", &image);
        for format in ALL {
            let added = at_once(&subject, [&one, &other], format, locks.path()).await;
            assert_eq!(added, 2);
            assert_eq!(count(&subject, &[&one, &other], format).await, [1, 1]);
        }
    }
}
