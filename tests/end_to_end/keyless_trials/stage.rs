//! Where these trials take place: an instance, a registry whose log can be read, and the program.

use std::path::PathBuf;
use std::sync::Arc;

use consign::event::Format;
use consign::oci::Digest;
use serde_json::Value;

use crate::harness::Tools;
use crate::instance::{
    Client, Content, Files, Flaw, Form, ISSUER, Instance, JOB, Key, Recipe, Signed, Signer, put,
};
use crate::program::{Ended, Workplace};
use crate::registry::{Image, Pushed, TestRegistry};

/// Where a signature can be, and in which form.
pub(super) const PATHS: [(Format, Form); 5] = [
    (Format::Tag, Form::Simple),
    (Format::Referrer, Form::Simple),
    (Format::Bundle, Form::Bundle01),
    (Format::Bundle, Form::Bundle02),
    (Format::Bundle, Form::Bundle03),
];

/// An instance with a registry and a workplace, in which the files of the instance are.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) instance: Arc<Instance>,
    pub(super) files: Files,
    pub(super) registry: TestRegistry,
    pub(super) place: Workplace,
    /// A key, and the file of its public half.
    pub(super) key: Key,
    pub(super) public: PathBuf,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let instance = Arc::new(Instance::new());
        let place = Workplace::new();
        let key = Key::generate();
        place.write("key.pub", key.public_pem());
        Self {
            files: instance.write(&place.path("")),
            registry: TestRegistry::start().await,
            public: place.path("key.pub"),
            instance,
            place,
            key,
        }
    }

    /// cosign, which trusts the instance.
    pub(super) const fn client<'a>(&'a self, tools: &'a Tools) -> Client<'a> {
        Client {
            tools,
            files: &self.files,
        }
    }

    /// An image of this name, and what it is called.
    pub(super) async fn image(&self, name: &str) -> (Pushed, String) {
        let image = Image::new(&[name]);
        let pushed = image.push(&self.registry, name, Some("1")).await;
        (pushed, format!("{}/{name}:1", self.registry.host()))
    }

    /// The usual signature by somebody of this kind.
    pub(super) fn recipe(&self, signer: Signer) -> Recipe<'_> {
        let recipe = self.instance.recipe();
        match signer {
            Signer::Certificate => recipe,
            Signer::Key => recipe.by_key(&self.key),
        }
    }

    /// What is signed of an image, by its repository.
    pub(super) fn content(&self, name: &str, form: Form, digest: Digest) -> Content {
        let reference = format!("{}/{name}", self.registry.host());
        form.content(&reference, digest, &[("team", "web")])
    }

    /// Attaches a signature to an image.
    pub(super) async fn attach(
        &self,
        name: &str,
        path: (Format, Form),
        image: &Pushed,
        signed: Signed,
    ) {
        put(&self.registry, name, path, image, &[signed]).await;
    }

    /// An image of this name with the usual signature, or one that has a flaw; its full name.
    pub(super) async fn signed_image(
        &self,
        name: &str,
        path: (Format, Form),
        signer: Signer,
        flaw: Option<Flaw>,
    ) -> String {
        let (image, full) = self.image(name).await;
        let content = self.content(name, path.1, image.digest);
        let recipe = self.recipe(signer).flaw(flaw);
        self.attach(name, path, &image, recipe.sign(content)).await;
        full
    }

    /// The flags by which the usual signer is known; bundles name no repository, and prove the digest alone.
    pub(super) fn known(&self, signer: Signer, form: Form) -> String {
        let identity = match form {
            Form::Simple => "matchRepository",
            Form::Bundle01 | Form::Bundle02 | Form::Bundle03 => "digestOnly",
        };
        let root = self.files.trusted_root.display();
        let who = match signer {
            Signer::Certificate => {
                format!("--certificate-identity {JOB} --certificate-oidc-issuer {ISSUER}")
            }
            Signer::Key => format!("--key {}", self.public.display()),
        };
        format!("--trusted-root {root} {who} --signed-identity {identity}")
    }

    /// Validates images, of which the first platform is the whole.
    pub(super) async fn validate(&self, flags: &str, images: &[String]) -> Ended {
        self.place.write("list.txt", images.join("\n") + "\n");
        let words = format!("validate -f list.txt --output json {flags}");
        self.place.run(&words).await
    }
}

/// Results in the order of their lines; they end as they come.
pub(super) fn in_order(mut results: Vec<Value>) -> Vec<Value> {
    results.sort_by_key(|result| result["line"].as_u64());
    results
}
