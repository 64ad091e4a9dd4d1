//! Images at a source that asks nobody, and a list of them.

use serde_json::Value;

use crate::program::{Ended, Workplace, auth_file};
use crate::registry::{Image, TestRegistry};

/// A source, and a place with a list of its images.
pub(super) struct Stage {
    /// The source.
    pub(super) source: TestRegistry,
    /// Where the program runs.
    pub(super) place: Workplace,
}

impl Stage {
    /// A source with an image of one layer under each of these names, which are the list.
    pub(super) async fn of(names: &[impl AsRef<str>]) -> Self {
        let source = TestRegistry::start().await;
        let mut list = String::new();
        for name in names {
            let name = name.as_ref();
            let (repository, tag) = name.split_once(':').expect("a tag");
            Image::new(&[name])
                .push(&source, repository, Some(tag))
                .await;
            list = format!("{list}{name}\n");
        }
        let place = Workplace::new();
        place.write("list.txt", list);
        Self { source, place }
    }

    /// Mirrors the list to `host` as a user with this password, and reads the report.
    pub(super) async fn mirror(
        &self,
        host: &str,
        (user, password): (&str, &str),
        more: &str,
    ) -> (Ended, Value) {
        let from = self.source.host();
        self.place
            .write("auth.json", auth_file(&[(host, user, password)]));
        let run_it = format!("mirror -f list.txt -s {from} -d {host} --report report.json {more}");
        let file = [("REGISTRY_AUTH_FILE", self.place.path("auth.json"))];
        let ended = self.place.run_with(&run_it, &file).await;
        let is_there = self.place.has("report.json");
        assert!(is_there, "there is no report: {ended}");
        (ended, self.place.json("report.json"))
    }
}

/// The lines of a report that ended so, as they stand in the list.
pub(super) fn lines_with(report: &Value, outcome: &str) -> Vec<String> {
    let lines = report["lines"].as_array().expect("a report has lines");
    let lines = lines.iter().filter(|line| line["outcome"] == outcome);
    let text = |line: &Value| line["text"].as_str().expect("a text").to_owned();
    lines.map(text).collect()
}
