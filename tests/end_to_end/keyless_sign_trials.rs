//! Signing without a key: what is asked first, what is made, who accepts it, and what is never pushed.

mod asking;
mod clock;
mod faults;
mod many;
mod real;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::Trial;

use crate::instance::{Files, ISSUER, Instance, JOB, Server, job_token};
use crate::program::{Ended, Workplace};
use crate::registry::{Image, Pushed, TestRegistry};

pub(crate) fn trials() -> Vec<Trial> {
    [
        asking::trials(),
        clock::trials(),
        faults::trials(),
        many::trials(),
        real::trials(),
        tls::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The formats, as flags.
const FORMATS: [&str; 3] = ["tag", "referrer", "bundle"];

/// An instance with its services, a registry, and the program.
struct Stage {
    place: Workplace,
    registry: TestRegistry,
    server: Server,
    files: Files,
}

impl Stage {
    async fn set() -> Self {
        let place = Workplace::new();
        let instance = Arc::new(Instance::new());
        let files = instance.write(&place.path(""));
        Self {
            registry: TestRegistry::start().await,
            server: Server::start(instance).await,
            place,
            files,
        }
    }

    /// An image in the registry, and its name by its tag.
    async fn image(&self, name: &str) -> (Pushed, String) {
        let pushed = Image::new(&[name])
            .push(&self.registry, name, Some("1"))
            .await;
        (pushed, format!("{}/{name}:1", self.registry.host()))
    }

    /// The flags that name the services and what is trusted of them.
    fn services(&self) -> String {
        let url = self.server.url();
        let root = self.files.trusted_root.display();
        format!("--fulcio-url {url} --rekor-url {url} --trusted-root {root}")
    }

    /// Runs `sign` with a token, as somebody who agreed.
    async fn sign_as(&self, token: &str, words: &str) -> Ended {
        let command = format!("sign {} -y {words}", self.services());
        let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(token))];
        self.place
            .run_with(&command, &token)
            .await
            .hiding(&[token[0].1.to_str().unwrap()])
    }

    /// The same as the usual job.
    async fn sign(&self, words: &str) -> Ended {
        self.sign_as(&job_token(), words).await
    }

    /// Runs `validate` for the usual job; `words` are more flags and images.
    async fn validate(&self, words: &str) -> Ended {
        let root = self.files.trusted_root.display();
        let who = format!("--certificate-identity {JOB} --certificate-oidc-issuer {ISSUER}");
        let words = format!("validate {who} --trusted-root {root} --subjects index {words}");
        self.place.run(&words).await
    }

    /// Nothing was written into the registry of the images since its log was cleared.
    #[track_caller]
    fn nothing_was_pushed(&self) {
        let writes = self.registry.writes();
        assert!(writes.is_empty(), "{}", self.registry.log_text());
    }
}
