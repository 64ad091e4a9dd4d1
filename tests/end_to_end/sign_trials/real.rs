//! What cosign and skopeo say of our signatures, and of theirs beside ours.

use std::fs;
use std::process::Output;

use consign::event::Format;
use consign::sign::Formats;
use consign::sigstore::{KeyFile, Passphrase, PrivateKey};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ALL, Subject, added, key, only, process};
use crate::harness::{Tool, Tools, with_tools};
use crate::real::distribution::Distribution;
use crate::registry::{Image, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    let cosigns = [Tool::Registry, Tool::Crane, Tool::Cosign2, Tool::Cosign3];
    let skopeo = [Tool::Registry, Tool::Crane, Tool::Cosign2, Tool::Skopeo];
    vec![
        with_tools("sign::cosign_verifies_every_format", &cosigns, every_format),
        with_tools(
            "sign::skopeo_accepts_a_tag_signature_by_tag_and_by_digest",
            &skopeo,
            accepted_by_skopeo,
        ),
        with_tools(
            "sign::signatures_of_cosign_stay_good_beside_ours",
            &cosigns,
            beside_cosign,
        ),
        with_tools(
            "sign::signatures_of_skopeo_stay_good_beside_ours",
            &skopeo,
            beside_skopeo,
        ),
        with_tools(
            "sign::where_cosign_3_left_a_bundle_ours_is_verified_too",
            &cosigns,
            beside_a_bundle,
        ),
    ]
}

/// The passphrase of the test keys.
const PASSPHRASE: &str = "of a test key";

/// The image `app:1` at a registry that other programs reach.
struct Place {
    tools: Tools,
    host: String,
    subject: Subject,
    // They end with this.
    _distribution: Option<Distribution>,
    _own: TestRegistry,
}

impl Place {
    /// At distribution 2.8, which has no referrers API.
    async fn at_distribution(tools: &Tools) -> Self {
        let source = TestRegistry::start().await;
        let image = Image::new(&["layer"]).push(&source, "app", Some("1")).await;
        let registry = Distribution::start(tools, "registry").await;
        let from = format!("{}/app:1", source.host());
        let to = format!("{}/app:1", registry.host());
        tools.run(Tool::Crane, ["copy", &from, &to]).await;
        Self {
            tools: tools.clone(),
            host: registry.host().to_owned(),
            subject: Subject::new(registry.host(), "app", &image),
            _distribution: Some(registry),
            _own: source,
        }
    }

    /// At our own, which has one.
    async fn at_our_own(tools: &Tools) -> Self {
        let registry = TestRegistry::start().await;
        let image = Image::new(&["layer"])
            .push(&registry, "app", Some("1"))
            .await;
        Self {
            tools: tools.clone(),
            host: registry.host(),
            subject: Subject::new(&registry.host(), "app", &image),
            _distribution: None,
            _own: registry,
        }
    }

    async fn sign(&self, key: &PrivateKey, formats: &Formats) -> Vec<(Format, bool)> {
        added(self.subject.sign_with(&process(None), key, formats).await)
    }

    fn by_tag(&self) -> String {
        format!("{}/app:1", self.host)
    }

    fn by_digest(&self) -> String {
        self.subject.pinned().to_string()
    }

    /// Writes a file and gives its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.tools.folder().join(name);
        fs::write(&path, text).expect("it is written");
        path.display().to_string()
    }

    fn public(&self, name: &str, key: &PrivateKey) -> String {
        self.file(&format!("{name}.pub"), &key.public().to_pem())
    }

    fn private(&self, name: &str, key: &PrivateKey) -> String {
        let sealed = key.seal(&Passphrase::new(PASSPHRASE.to_owned()));
        self.file(&format!("{name}.key"), &sealed.expect("it is sealed"))
    }

    async fn run(&self, tool: Tool, words: &str) -> Output {
        let mut command = self.tools.command(tool);
        command
            .args(words.split_whitespace())
            .env("COSIGN_PASSWORD", PASSPHRASE)
            .env("COSIGN_EXPERIMENTAL", "1");
        command.output().await.expect("it starts")
    }

    async fn good(&self, tool: Tool, words: &str) -> String {
        let output = self.run(tool, words).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{tool} {words}: {}\n{}",
            output.status,
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    async fn bad(&self, tool: Tool, words: &str) -> String {
        let output = self.run(tool, words).await;
        assert!(!output.status.success(), "{tool} {words}: it is good");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The environment and words of skopeo with a policy that wants a signature by `public`.
    fn policy(&self, public: &str) -> String {
        let policy = json!({
            "default": [{ "type": "reject" }],
            "transports": { "docker": { &self.host: [{ "type": "sigstoreSigned", "keyPath": public }] } },
        });
        let policy = self.file("policy.json", &policy.to_string());
        format!("--policy {policy} {}", self.lookaside())
    }

    fn lookaside(&self) -> String {
        let folder = self.tools.folder().join("registries.d");
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            "docker:\n  {}:\n    use-sigstore-attachments: true\n",
            self.host
        );
        fs::write(folder.join("all.yaml"), text).expect("it is written");
        format!("--registries.d {} --tmpdir .", folder.display())
    }
}

/// The words that verify a format.
fn verify(key: &str, flags: &str, image: &str) -> String {
    format!("verify --key {key} --insecure-ignore-tlog=true -a by=consign {flags} {image}")
}

/// What `cosign verify` prints: each signature that it verified.
fn payloads(output: &str) -> Vec<Value> {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

async fn every_format(tools: Tools) {
    const OCI_11: &str = "--experimental-oci11=true";
    for place in [
        Place::at_distribution(&tools).await,
        Place::at_our_own(&tools).await,
    ] {
        let own = key();
        let (public, other) = (place.public("own", &own), place.public("other", &key()));
        place.sign(&own, &only(Format::Tag)).await;
        for image in [place.by_tag(), place.by_digest()] {
            for tool in [Tool::Cosign2, Tool::Cosign3] {
                let output = place.good(tool, &verify(&public, "", &image)).await;
                let payload = &payloads(&output)[0];
                let name = &payload["critical"]["identity"]["docker-reference"];
                assert_eq!(*name, place.subject.claim().identity);
                assert_eq!(payload["optional"]["by"], "consign");
                place.bad(tool, &verify(&other, "", &image)).await;
                let claimed = verify(&public, "-a by=others", &image);
                place.bad(tool, &claimed.replace("-a by=consign", "")).await;
            }
        }
    }
    for place in [
        Place::at_distribution(&tools).await,
        Place::at_our_own(&tools).await,
    ] {
        let own = key();
        let (public, other) = (place.public("own", &own), place.public("other", &key()));
        place.sign(&own, &only(Format::Referrer)).await;
        for tool in [Tool::Cosign2, Tool::Cosign3] {
            let image = place.by_tag();
            place.good(tool, &verify(&public, OCI_11, &image)).await;
            place.bad(tool, &verify(&other, OCI_11, &image)).await;
        }
    }
    for place in [
        Place::at_distribution(&tools).await,
        Place::at_our_own(&tools).await,
    ] {
        let own = key();
        let (public, other) = (place.public("own", &own), place.public("other", &key()));
        place.sign(&own, &only(Format::Bundle)).await;
        for image in [place.by_tag(), place.by_digest()] {
            place
                .good(Tool::Cosign3, &verify(&public, "", &image))
                .await;
            place.bad(Tool::Cosign3, &verify(&other, "", &image)).await;
            let claimed = verify(&public, "-a by=others", &image);
            let claimed = claimed.replace("-a by=consign", "");
            place.bad(Tool::Cosign3, &claimed).await;
        }
        // All formats beside each other, as somebody may ask for them.
        assert_eq!(
            place.sign(&own, &Formats::These(ALL.to_vec())).await,
            [
                (Format::Tag, true),
                (Format::Referrer, true),
                (Format::Bundle, false)
            ]
        );
        let image = place.by_tag();
        place
            .good(Tool::Cosign2, &verify(&public, "", &image))
            .await;
        place
            .good(Tool::Cosign3, &verify(&public, "", &image))
            .await;
        place
            .good(Tool::Cosign2, &verify(&public, OCI_11, &image))
            .await;
    }
}

async fn accepted_by_skopeo(tools: Tools) {
    for place in [
        Place::at_distribution(&tools).await,
        Place::at_our_own(&tools).await,
    ] {
        let own = key();
        let accepting = place.policy(&place.public("own", &own));
        let copy = |image: &str, to: &str| {
            format!("{accepting} copy --src-tls-verify=false docker://{image} dir:{to}")
        };
        let by_tag = copy(&place.by_tag(), "tag");
        let said = place.bad(Tool::Skopeo, &by_tag).await;
        assert!(said.contains("A signature was required"), "{said}");
        place.sign(&own, &Formats::Usual).await;
        place.good(Tool::Skopeo, &by_tag).await;
        let by_digest = copy(&place.by_digest(), "digest");
        place.good(Tool::Skopeo, &by_digest).await;
        // Under the key of another it is refused.
        let refusing = place.policy(&place.public("other", &key()));
        assert!(refusing.contains("policy.json"));
        place.bad(Tool::Skopeo, &by_tag).await;
    }
}

async fn beside_cosign(tools: Tools) {
    let place = Place::at_distribution(&tools).await;
    let (own, theirs) = (key(), key());
    let (public, private) = (
        place.public("theirs", &theirs),
        place.private("theirs", &theirs),
    );
    let image = place.by_digest();
    let sign = |flags: &str| {
        format!("sign --key {private} --tlog-upload=false -y -a by=consign {flags} {image}")
    };
    place.good(Tool::Cosign2, &sign("")).await;
    place
        .good(Tool::Cosign2, &sign("--registry-referrers-mode=oci-1-1"))
        .await;
    let formats = Formats::These(vec![Format::Tag, Format::Referrer]);
    let signed = place.sign(&own, &formats).await;
    assert_eq!(signed, [(Format::Tag, true), (Format::Referrer, true)]);
    let own_public = place.public("own", &own);
    for tool in [Tool::Cosign2, Tool::Cosign3] {
        for key in [&public, &own_public] {
            place.good(tool, &verify(key, "", &image)).await;
        }
    }
    // A signature that cosign adds to ours, in the old way of its third version.
    let third = key();
    let private = place.private("third", &third);
    let sign = format!(
        "sign --key {private} --tlog-upload=false --use-signing-config=false \
         --new-bundle-format=false -y -a by=consign {image}"
    );
    place.good(Tool::Cosign3, &sign).await;
    let third = place.public("third", &third);
    for key in [&public, &own_public, &third] {
        place.good(Tool::Cosign2, &verify(key, "", &image)).await;
    }
    assert!(
        place
            .sign(&own, &formats)
            .await
            .iter()
            .all(|(_, added)| !added)
    );
}

async fn beside_skopeo(tools: Tools) {
    let place = Place::at_distribution(&tools).await;
    let (own, theirs) = (key(), key());
    let private = place.private("theirs", &theirs);
    let passphrase = place.file("passphrase", PASSPHRASE);
    let image = place.by_tag();
    let copy = format!(
        "{} --insecure-policy copy --src-tls-verify=false --dest-tls-verify=false \
         --sign-by-sigstore-private-key {private} --sign-passphrase-file {passphrase} \
         docker://{image} docker://{image}",
        place.lookaside()
    );
    place.good(Tool::Skopeo, &copy).await;
    // The very key of skopeo says nothing new under the same name.
    let mut claim = place.subject.claim();
    claim.annotations.clear();
    let sealed = fs::read(&private).expect("it reads");
    let Ok(KeyFile::Sealed(sealed)) = KeyFile::parse(&sealed) else {
        panic!("it is a private key");
    };
    let opened = sealed.open(&Passphrase::new(PASSPHRASE.to_owned()));
    let opened = opened.expect("it opens");
    let what = (&claim, &only(Format::Tag));
    let again = place.subject.sign_as(&process(None), &opened, what).await;
    assert_eq!(added(again), [(Format::Tag, false)]);
    assert_eq!(
        place.sign(&own, &Formats::Usual).await,
        [(Format::Tag, true)]
    );
    for (name, key) in [("theirs", &theirs), ("own", &own)] {
        let accepting = place.policy(&place.public(name, key));
        let copy = format!("{accepting} copy --src-tls-verify=false docker://{image} dir:{name}");
        place.good(Tool::Skopeo, &copy).await;
    }
    let verified = verify(&place.public("own", &own), "", &image);
    place.good(Tool::Cosign2, &verified).await;
}

async fn beside_a_bundle(tools: Tools) {
    for place in [
        Place::at_distribution(&tools).await,
        Place::at_our_own(&tools).await,
    ] {
        let (own, theirs) = (key(), key());
        let (public, private) = (
            place.public("theirs", &theirs),
            place.private("theirs", &theirs),
        );
        let image = place.by_digest();
        let sign = format!(
            "sign --key {private} --tlog-upload=false --use-signing-config=false -y -a by=consign {image}"
        );
        place.good(Tool::Cosign3, &sign).await;
        let own_public = place.public("own", &own);
        // Why the usual formats are two then: the tag alone would not be looked at.
        assert_eq!(
            place.sign(&own, &only(Format::Tag)).await,
            [(Format::Tag, true)]
        );
        place
            .bad(Tool::Cosign3, &verify(&own_public, "", &image))
            .await;
        assert_eq!(
            place.sign(&own, &Formats::Usual).await,
            [(Format::Tag, false), (Format::Bundle, true)]
        );
        for key in [&public, &own_public] {
            place.good(Tool::Cosign3, &verify(key, "", &image)).await;
        }
        place
            .good(Tool::Cosign2, &verify(&own_public, "", &image))
            .await;
        assert_eq!(
            place.sign(&own, &Formats::Usual).await,
            [(Format::Tag, false), (Format::Bundle, false)]
        );
    }
}
