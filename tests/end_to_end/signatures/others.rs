//! cosign 2, cosign 3 and skopeo, offline and with keys.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::stand::{Key, PASSPHRASE, Stand};
use crate::harness::Tool;

/// How a program of others ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Whether it ended well.
    pub(crate) is_good: bool,
    /// Its stdout.
    pub(crate) out: String,
    /// The command, its stdout and its stderr.
    pub(crate) text: String,
}

impl Said {
    /// It ended well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert!(self.is_good, "{}", self.text);
        self.out
    }

    /// It ended badly, and said this.
    #[track_caller]
    pub(crate) fn refused(self, words: &str) {
        assert!(!self.is_good, "it was taken: {}", self.text);
        assert!(
            self.text.contains(words),
            "`{words}` is not said: {}",
            self.text
        );
    }
}

/// A cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cosign {
    /// Version 2.
    Two,
    /// Version 3.
    Three,
}

/// Both, as most is tried with both.
pub(crate) const BOTH: [Cosign; 2] = [Cosign::Two, Cosign::Three];

/// How cosign stores what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Under the tag of the digest.
    Tag,
    /// As an OCI 1.1 referrer with the layers of the tag.
    Referrer,
    /// As a bundle, which only version 3 makes.
    Bundle,
}

impl Cosign {
    /// Its program.
    pub(crate) const fn tool(self) -> Tool {
        match self {
            Self::Two => Tool::Cosign2,
            Self::Three => Tool::Cosign3,
        }
    }

    /// Signs an image.
    pub(crate) async fn sign(
        self,
        stand: &Stand,
        key: Key,
        (stored, more): (Stored, &str),
        image: &str,
    ) {
        let how = match (self, stored) {
            (Self::Two, Stored::Tag) => "",
            (_, Stored::Referrer) => "--registry-referrers-mode=oci-1-1",
            (Self::Three, Stored::Tag) => "--use-signing-config=false --new-bundle-format=false",
            (Self::Three, Stored::Bundle) => "--use-signing-config=false",
            (Self::Two, Stored::Bundle) => panic!("cosign 2 makes none"),
        };
        let key = key.private();
        let words = format!("sign --key {key} --tlog-upload=false -y {how} {more} {image}");
        let experimental = stored == Stored::Referrer;
        self.run(stand, &words, experimental).await.good();
    }

    /// Attests something of an image; only version 3.
    pub(crate) async fn attest(self, stand: &Stand, key: Key, predicate: &Path, image: &str) {
        assert_eq!(self, Self::Three);
        let words = format!(
            "attest --key {} --tlog-upload=false --use-signing-config=false -y --type custom \
             --predicate {} {image}",
            key.private(),
            predicate.display()
        );
        self.run(stand, &words, false).await.good();
    }

    /// Verifies an image by a public key file; `more` are flags.
    pub(crate) async fn verify(self, stand: &Stand, key: &str, more: &str, image: &str) -> Said {
        let words = format!("verify --key {key} --insecure-ignore-tlog {more} {image}");
        self.run(stand, &words, more.contains(REFERRERS)).await
    }

    /// The same, and names each image that is refused.
    pub(crate) async fn verify_all(self, stand: &Stand, key: &str, more: &str, images: &[String]) {
        for image in images {
            let said = self.verify(stand, key, more, image).await;
            assert!(said.is_good, "{self:?} refuses {image}: {}", said.text);
        }
    }

    async fn run(self, stand: &Stand, words: &str, experimental: bool) -> Said {
        let mut command = stand.tools.command(self.tool());
        command
            .args(words.split_whitespace())
            .env("COSIGN_PASSWORD", PASSPHRASE);
        if experimental {
            command.env("COSIGN_EXPERIMENTAL", "1");
        }
        said(command).await
    }
}

/// The flag by which cosign finds referrers; it needs `COSIGN_EXPERIMENTAL` too.
pub(crate) const REFERRERS: &str = "--experimental-oci11";

/// Runs a command to its end.
pub(crate) async fn said(mut command: tokio::process::Command) -> Said {
    let output = command.output().await.expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Said {
        is_good: output.status.success(),
        text: format!("{:?}\n{out}\n{err}", command.as_std()),
        out,
    }
}

/// skopeo, with a policy or without one, and with signatures under tags switched on.
#[derive(Debug)]
pub(crate) struct Skopeo<'a> {
    stand: &'a Stand,
    policy: Option<PathBuf>,
}

impl<'a> Skopeo<'a> {
    /// One that takes everything.
    pub(crate) fn trusting(stand: &'a Stand) -> Self {
        let settings = "default-docker: { use-sigstore-attachments: true }\n";
        stand.place.write("registries.d/default.yaml", settings);
        Self {
            stand,
            policy: None,
        }
    }

    /// One with this policy.
    pub(crate) fn with(stand: &'a Stand, policy: &Value) -> Self {
        let name = "skopeo-policy.json";
        stand.place.write(name, policy.to_string());
        Self {
            policy: Some(stand.place.path(name)),
            ..Self::trusting(stand)
        }
    }

    /// Copies an image into a folder that is not there yet; `more` are flags of `copy`.
    pub(crate) async fn pull(&self, more: &str, image: &str) -> Said {
        let folder = tempfile::tempdir_in(self.stand.tools.folder()).expect("a folder");
        let to = folder.path().join("image");
        let from = format!(
            "--src-tls-verify=false docker://{image} dir:{}",
            to.display()
        );
        self.copy(&format!("{more} {from}")).await
    }

    /// Copies an image with all its platforms to another registry, and signs everything there.
    pub(crate) async fn copy_and_sign(&self, key: Key, from: &str, to: &str) {
        self.stand.place.write("passphrase", PASSPHRASE);
        let passphrase = self.stand.place.path("passphrase");
        let sign = format!(
            "--sign-by-sigstore-private-key {} --sign-passphrase-file {}",
            key.private(),
            passphrase.display()
        );
        let plain = "--src-tls-verify=false --dest-tls-verify=false";
        let words = format!("--all {sign} {plain} docker://{from} docker://{to}");
        self.copy(&words).await.good();
    }

    async fn copy(&self, words: &str) -> Said {
        let mut command = self.stand.tools.command(Tool::Skopeo);
        match &self.policy {
            Some(path) => command.arg("--policy").arg(path),
            None => command.arg("--insecure-policy"),
        };
        command
            .arg("--registries.d")
            .arg(self.stand.place.path("registries.d"))
            .args([
                "--tmpdir",
                ".",
                "--override-os",
                "linux",
                "--override-arch",
                "amd64",
                "copy",
            ])
            .args(words.split_whitespace());
        said(command).await
    }
}

/// A policy that asks `requirement` of all that `host` has, and rejects everything else.
pub(crate) fn policy(host: &str, requirement: &Value) -> Value {
    json!({
        "default": [{ "type": "reject" }],
        "transports": { "docker": { host: [requirement] } },
    })
}

/// Signatures by a key, whose file is named.
pub(crate) fn signed_by(key: &str) -> Value {
    json!({ "type": "sigstoreSigned", "keyPath": key })
}
