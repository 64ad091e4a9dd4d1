//! Where these trials take place: registries, keys, a compose file, and the program.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::instance::{Files, Instance, Server};
use crate::program::{Ended, Workplace};
use crate::registry::{Image, Pushed, TestRegistry};
use crate::signatures::stand::{Key, OTHER, OURS, PASSPHRASE};

/// How a service asks that its image be verified by the key in `keys/own.pub`.
pub(super) const VERIFIED: &str =
    "x-nerdctl-verify: cosign\nx-nerdctl-cosign-public-key: keys/own.pub";
/// How a service asks that its image be signed by the key in `keys/own.key`.
pub(super) const SIGNED: &str =
    "x-nerdctl-sign: cosign\nx-nerdctl-cosign-private-key: keys/own.key";

/// Writes the test keys into `keys/`: a pair that signs, and one that has nothing to do with it.
pub(super) fn keys(place: &Workplace) {
    let copy = |from: String, to: &str| {
        place.write(to, fs::read(from).expect("a key"));
    };
    let pair = |key: Key, name: &str| {
        copy(key.public(), &format!("keys/{name}.pub"));
        copy(key.private(), &format!("keys/{name}.key"));
    };
    pair(OURS, "own");
    pair(OTHER, "other");
}

/// A compose file of services, each with its name and its keys; the image of each has its name and stands in the
/// registry that `.env` names.
pub(super) fn compose<K: AsRef<str>>(services: &[(&str, K)]) -> String {
    let mut lines = vec!["services:".to_owned()];
    for (name, keys) in services {
        lines.push(format!("  {name}:"));
        lines.push(format!("    image: ${{REGISTRY}}/{name}_image:1"));
        let keys = keys.as_ref().lines();
        lines.extend(keys.map(|key| format!("    {key}")));
    }
    lines.join("\n") + "\n"
}

/// A source, a destination, a workplace with keys, and a compose file in it.
pub(super) struct Stage {
    pub(super) place: Workplace,
    pub(super) registry: TestRegistry,
    pub(super) destination: TestRegistry,
}

impl Stage {
    /// With an image for each of the services.
    pub(super) async fn set<K: AsRef<str>>(services: &[(&str, K)]) -> Self {
        let stage = Self {
            place: Workplace::new(),
            registry: TestRegistry::start().await,
            destination: TestRegistry::start().await,
        };
        keys(&stage.place);
        stage
            .place
            .write(".env", format!("REGISTRY={}\n", stage.registry.host()));
        stage.compose(services);
        for (name, _) in services {
            stage.push(name).await;
        }
        stage
    }

    /// The image of a service.
    pub(super) async fn push(&self, service: &str) -> Pushed {
        let image = Image::new(&[service]);
        let name = format!("{service}_image");
        image.push(&self.registry, &name, Some("1")).await
    }

    /// Writes `compose.yaml`.
    pub(super) fn compose<K: AsRef<str>>(&self, services: &[(&str, K)]) {
        self.place.write("compose.yaml", compose(services));
    }

    /// The image of a service by its tag.
    pub(super) fn image(&self, service: &str) -> String {
        format!("{}/{service}_image:1", self.registry.host())
    }

    /// Runs the program with the passphrase of the keys in its environment.
    pub(super) async fn run(&self, words: &str) -> Ended {
        self.run_with(words, &[]).await
    }

    /// The same with more in its environment.
    pub(super) async fn run_with(&self, words: &str, more: &[(&str, PathBuf)]) -> Ended {
        let mut all = vec![("COSIGN_PASSWORD", PathBuf::from(PASSPHRASE))];
        all.extend(more.iter().cloned());
        self.place.run_with(words, &all).await
    }

    /// Runs it and gives how each service ended, in the order of the file.
    pub(super) async fn outcomes(&self, words: &str, code: i32) -> Vec<String> {
        let ended = self.run(&format!("{words} --output json")).await;
        outcomes(&ended.with(code))
    }

    /// Neither registry was asked for anything since the logs were cleared.
    #[track_caller]
    pub(super) fn nothing_was_asked(&self) {
        for registry in [&self.registry, &self.destination] {
            assert!(registry.log().is_empty(), "{}", registry.log_text());
        }
    }

    /// Neither registry was changed since the logs were cleared.
    #[track_caller]
    pub(super) fn nothing_was_written(&self) {
        for registry in [&self.registry, &self.destination] {
            assert!(registry.writes().is_empty(), "{}", registry.log_text());
        }
    }

    /// Forgets what the registries were asked.
    pub(super) fn forget(&self) {
        self.registry.clear_log();
        self.destination.clear_log();
    }

    /// Whether the image of a service is at the destination.
    pub(super) fn arrived(&self, service: &str) -> bool {
        let name = format!("{service}_image");
        self.destination.tag(&name, "1").is_some()
    }
}

/// How the lines of a run ended, in the order of the file.
pub(super) fn outcomes(ended: &Ended) -> Vec<String> {
    let mut lines = ended.json_lines();
    lines.sort_by_key(|line| line["line"].as_u64());
    let outcome = |line: &Value| line["outcome"].as_str().expect("a word").to_owned();
    lines.iter().map(outcome).collect()
}

/// A private Sigstore instance beside a stage.
pub(super) struct Sigstore {
    pub(super) server: Server,
    pub(super) files: Files,
}

impl Sigstore {
    pub(super) async fn beside(stage: &Stage) -> Self {
        let instance = std::sync::Arc::new(Instance::new());
        Self {
            files: instance.write(&stage.place.path("")),
            server: Server::start(instance).await,
        }
    }

    /// The flags that name its services and its root.
    pub(super) fn services(&self) -> String {
        let (url, root) = (self.server.url(), self.files.trusted_root.display());
        format!("--fulcio-url {url} --rekor-url {url} --trusted-root {root}")
    }
}
