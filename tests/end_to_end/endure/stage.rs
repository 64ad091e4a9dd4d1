//! A source and a destination in this process, a list of images, and the program that mirrors it.

use consign::oci::Digest;
use serde_json::Value;

use crate::faults::noise;
use crate::program::{Ended, Running, Workplace};
use crate::registry::{Contents, Image, Pushed, Settings, TestRegistry};

/// Where a trial takes place.
pub(super) struct Stage {
    /// Where images come from.
    pub(super) source: TestRegistry,
    /// Where they are brought to.
    pub(super) destination: TestRegistry,
    /// Where the program runs.
    pub(super) place: Workplace,
    list: String,
}

impl Stage {
    /// Two registries that ask nobody who he is.
    pub(super) async fn plain() -> Self {
        Self::between(Settings::default(), Settings::default()).await
    }

    pub(super) async fn between(source: Settings, destination: Settings) -> Self {
        Self {
            source: TestRegistry::with(source).await,
            destination: TestRegistry::with(destination).await,
            place: Workplace::new(),
            list: String::new(),
        }
    }

    /// Puts an image of one layer of so many bytes at the source, and a line for it into the list.
    pub(super) async fn image(&mut self, name: &str, size: usize) -> Pushed {
        let seed = u64::try_from(self.list.len()).expect("it is small");
        let image = Image::of_blobs([noise(size, seed)]);
        self.add(name, image).await
    }

    /// Puts an image at the source, and a line for it into the list.
    pub(super) async fn add(&mut self, name: &str, image: Image) -> Pushed {
        let (repository, tag) = name.split_once(':').expect("a tag");
        self.listed(name);
        image.push(&self.source, repository, Some(tag)).await
    }

    /// Puts a line into the list.
    pub(super) fn listed(&mut self, line: &str) {
        self.list = format!("{}{line}\n", self.list);
        self.place.write("list.txt", &self.list);
    }

    /// The arguments that mirror the list, from the source unless `more` says otherwise.
    pub(super) fn arguments(&self, more: &str) -> String {
        let from = if more.contains("-s ") {
            String::new()
        } else {
            format!("-s {}", self.source.host())
        };
        let to = if more.contains("-d ") {
            String::new()
        } else {
            format!("-d {}", self.destination.host())
        };
        format!("mirror -f list.txt {from} {to} --report report.json {more}")
    }

    /// Mirrors the list.
    pub(super) async fn mirror(&self, more: &str) -> Ended {
        self.place.run(&self.arguments(more)).await
    }

    /// Begins to mirror it.
    pub(super) fn start(&self, more: &str) -> Running {
        self.place.start(&self.arguments(more))
    }

    /// The outcomes of the last run, by the names in the list.
    pub(super) fn outcomes(&self) -> Vec<(String, String)> {
        let report = self.place.json("report.json");
        let lines = report["lines"].as_array().expect("a report has lines");
        let word = |line: &Value, key: &str| line[key].as_str().expect("a word").to_owned();
        let outcome = |line| (word(line, "text"), word(line, "outcome"));
        lines.iter().map(outcome).collect()
    }

    /// Checks what the last run says of its lines, in list order.
    #[track_caller]
    pub(super) fn ended_with(&self, outcomes: &[(&str, &str)]) {
        let said = self.outcomes();
        let said: Vec<(&str, &str)> = said.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(said, outcomes);
    }

    /// Checks that a repository is the same on both sides, byte for byte.
    pub(super) async fn same(&self, repository: &str) {
        assert_eq!(
            Contents::of(&self.source, repository).await,
            Contents::of(&self.destination, repository).await
        );
    }

    /// Checks that nothing can be seen of a repository at the destination.
    pub(super) async fn nothing_visible(&self, repository: &str) {
        let contents = Contents::of(&self.destination, repository).await;
        assert!(contents.tags.is_empty(), "{:?}", contents.tags);
        assert!(contents.manifests.is_empty(), "{:?}", contents.manifests);
    }

    /// The bytes of a blob of the source.
    pub(super) async fn bytes_of(&self, repository: &str, digest: &Digest) -> Vec<u8> {
        let contents = Contents::of(&self.source, repository).await;
        contents.blobs[digest].to_vec()
    }

    /// Both logs, for the message of an assertion.
    pub(super) fn logs(&self) -> String {
        format!(
            "source:\n{}\ndestination:\n{}",
            self.source.log_text(),
            self.destination.log_text()
        )
    }
}

/// The path of a blob in any repository.
pub(super) fn blob(digest: &Digest) -> String {
    format!("*/blobs/{digest}")
}

/// The request that brings a blob into any repository.
pub(super) fn put_of(digest: &Digest) -> String {
    let digest = digest.to_string().replace(':', "%3A");
    format!("*/blobs/uploads/*?*digest={digest}*")
}
