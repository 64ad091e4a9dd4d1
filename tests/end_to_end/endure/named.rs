//! Images of a source that are mirrored by name, and what the report says of each.

use bytes::Bytes;
use consign::oci::Digest;
use serde_json::Value;

use super::stage::Stage;
use crate::faults::put_manifest;
use crate::program::Ended;

/// What no run may take, whatever it is served.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

impl Stage {
    /// The command that mirrors these images of the source, with more flags.
    fn command(&self, names: &[impl AsRef<str>], flags: &str) -> String {
        let (from, to) = (self.source.host(), self.destination.host());
        let lines = names.iter().map(|name| format!("{from}/{}", name.as_ref()));
        let lines: Vec<String> = lines.collect();
        self.place.write("list.txt", lines.join("\n"));
        format!("mirror -f list.txt -s {from} -d {to} --report report.json -o failed.txt {flags}")
    }

    /// Mirrors these images of the source, with more flags.
    pub(super) async fn mirrored(&self, lines: &[impl AsRef<str>], flags: &str) -> Ended {
        self.place.run(&self.command(lines, flags)).await
    }

    /// The same, in as little memory as any run.
    pub(super) async fn mirrored_in_bounds(&self, lines: &[impl AsRef<str>], flags: &str) -> Ended {
        let running = self.place.start(&self.command(lines, flags));
        let (ended, peak) = running.end_and_peak().await;
        assert!(peak > 0 && peak < MEMORY_MAX, "{peak} bytes: {ended}");
        ended
    }

    /// What the report says of a line, counted from 0.
    pub(super) fn line(&self, position: usize) -> Value {
        self.place.json("report.json")["lines"][position].clone()
    }

    /// Why a line failed: its failure in the report.
    #[track_caller]
    pub(super) fn failure(&self, position: usize) -> Value {
        let line = self.line(position);
        assert_eq!(line["outcome"], "failed", "{line:#}");
        line["failure"].clone()
    }

    /// Looks whether a line failed so: kind, side, and words among its causes.
    #[track_caller]
    pub(super) fn failed(&self, position: usize, (kind, side): (&str, &str), words: &[&str]) {
        let failure = self.failure(position);
        let is_so = failure["kind"] == kind && failure["side"] == side;
        assert!(is_so, "{position}: {failure:#}");
        let causes = failure["causes"].to_string();
        for word in words {
            assert!(causes.contains(word), "`{word}` is not said: {failure:#}");
        }
    }

    /// Puts a document into `app` at the source.
    pub(super) async fn put(&self, tag: &str, kind: &str, document: impl Into<Bytes>) -> Digest {
        put_manifest(&self.source, Some(tag), kind, document).await
    }

    /// Forgets what was asked so far, and all faults.
    pub(super) fn clear(&self) {
        for registry in [&self.source, &self.destination] {
            registry.clear_log();
            registry.clear_rules();
        }
    }
}

/// The manifest of an OCI image.
pub(super) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index.
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
