//! Policies with `fulcio`, `rekorPublicKey…` and `pki`, beside skopeo with the same policy and the same images.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign::event::Format;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Tool, Tools, with_tools};
use crate::instance::{Files, Flaw, Form, Identity, Instance, Key, Recipe, Signer, put};
use crate::program::outcomes;
use crate::registry::{Image, TestRegistry};
use crate::signatures::others::{Skopeo, policy};
use crate::signatures::stand::Stand;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "keyless::a_policy_means_here_what_it_means_to_skopeo",
            &[Tool::Skopeo],
            policies,
        ),
        with_tools(
            "keyless::a_policy_takes_no_flaw_that_skopeo_refuses",
            &[Tool::Skopeo],
            flaws,
        ),
    ]
}

/// Somebody who signs by hand: a policy knows addresses alone.
const PERSON: &str = "dev@instance.test";
/// Who vouches for persons.
const ACCOUNTS: &str = "https://accounts.instance.test";

/// What skopeo takes, and is refused here: what is to happen tomorrow, and what an authority signed itself.
const STRICTER: &[Flaw] = &[Flaw::LoggedInTheFuture, Flaw::LeafIsAuthority];

/// Images and their signatures in one registry, and a stand to judge them from.
struct Court {
    stand: Stand,
    registry: TestRegistry,
    destination: TestRegistry,
    images: Vec<String>,
}

impl Court {
    async fn new(tools: Tools) -> Self {
        Self {
            stand: Stand::new(tools),
            registry: TestRegistry::start().await,
            destination: TestRegistry::start().await,
            images: Vec::new(),
        }
    }

    /// Adds an image with a signature.
    async fn add(&mut self, name: &str, recipe: Option<Recipe<'_>>) {
        let name = format!("apps/{}", name.to_lowercase());
        let image = Image::new(&[&name]);
        let pushed = image.push(&self.registry, &name, Some("1")).await;
        let line = format!("{name}:1");
        if let Some(recipe) = recipe {
            let reference = format!("{}/{line}", self.registry.host());
            let signed = recipe.sign(Form::Simple.content(&reference, pushed.digest, &[]));
            let path = (Format::Tag, Form::Simple);
            put(&self.registry, &name, path, &pushed, &[signed]).await;
        }
        self.images.push(line);
    }

    /// What skopeo and the program say of each image under a requirement.
    async fn verdicts(&self, requirement: &Value) -> Vec<(bool, bool)> {
        let (host, to) = (self.registry.host(), self.destination.host());
        let policy = policy(&host, requirement);
        let place = &self.stand.place;
        place.write("list.txt", self.images.join("\n"));
        place.write("policy.json", policy.to_string());
        let mirror = format!(
            "mirror -f list.txt -s {host} -d {to} --policy policy.json --report report.json"
        );
        let ended = self.stand.run(&mirror).await;
        let skopeo = Skopeo::with(&self.stand, &policy);
        let mut verdicts = Vec::new();
        let outcomes = outcomes(&place.json("report.json"));
        for (image, outcome) in self.images.iter().zip(outcomes) {
            let theirs = skopeo.pull("", &format!("{host}/{image}")).await.is_good;
            let ours = match outcome.as_str() {
                "copied" | "up-to-date" => true,
                "rejected" => false,
                other => panic!("{image} is {other} under {policy}: {ended}"),
            };
            verdicts.push((theirs, ours));
        }
        verdicts
    }
}

fn person(recipe: Recipe<'_>) -> Recipe<'_> {
    recipe.by(Identity::Email(PERSON.to_owned()), ACCOUNTS)
}

fn by_certificate(files: &Files) -> Value {
    json!({
        "type": "sigstoreSigned",
        "fulcio": { "caPath": files.root, "oidcIssuer": ACCOUNTS, "subjectEmail": PERSON },
        "rekorPublicKeyPath": files.rekor,
    })
}

fn data(path: &Path) -> String {
    STANDARD.encode(fs::read(path).expect("it reads"))
}

/// Each way to say who may have signed, and what is not that.
fn requirements(ours: &Files, other: &Files, key: &Path) -> Vec<Value> {
    let with = |changes: Value| {
        let mut requirement = by_certificate(ours);
        for (name, value) in changes.as_object().expect("an object") {
            requirement[name] = value.clone();
        }
        requirement
    };
    let fulcio = |ca: &Path, issuer: &str, email: &str| {
        with(json!({ "fulcio": { "caPath": ca, "oidcIssuer": issuer, "subjectEmail": email } }))
    };
    let signed = |more: Value| {
        let mut requirement = json!({ "type": "sigstoreSigned" });
        let fields = requirement.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        requirement
    };
    let pki = |roots: &Path, more: Value| {
        let mut pki = json!({ "caRootsPath": roots });
        let fields = pki.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        signed(json!({ "pki": pki }))
    };
    let ca = json!({
        "caData": data(&ours.chain), "oidcIssuer": ACCOUNTS, "subjectEmail": PERSON,
    });
    let logs = signed(
        json!({ "fulcio": ca, "rekorPublicKeyDatas": [data(&other.rekor), data(&ours.rekor)] }),
    );
    vec![
        with(json!({})),
        fulcio(&ours.chain, ACCOUNTS, PERSON),
        fulcio(&ours.root, "https://accounts.instance.test/", PERSON),
        fulcio(&ours.root, ACCOUNTS, "DEV@instance.test"),
        fulcio(&ours.root, crate::instance::ISSUER, crate::instance::JOB),
        fulcio(&other.root, ACCOUNTS, PERSON),
        with(json!({ "rekorPublicKeyPath": other.rekor })),
        logs,
        signed(json!({ "keyPath": key })),
        signed(json!({ "keyPath": key, "rekorPublicKeyPath": ours.rekor })),
        signed(json!({ "keyPath": key, "rekorPublicKeyPaths": [other.rekor, ours.rekor] })),
        signed(json!({ "keyData": data(key), "rekorPublicKeyData": data(&ours.rekor) })),
        signed(json!({ "keyPath": key, "rekorPublicKeyPath": other.rekor })),
        signed(json!({ "keyPath": ours.rekor, "rekorPublicKeyPath": ours.rekor })),
        pki(&ours.root, json!({ "subjectEmail": PERSON })),
        pki(&ours.chain, json!({ "subjectEmail": PERSON })),
        pki(
            &ours.root,
            json!({ "caIntermediatesPath": ours.chain, "subjectEmail": PERSON }),
        ),
        pki(&ours.root, json!({ "subjectEmail": "other@instance.test" })),
        pki(&ours.root, json!({ "subjectHostname": "instance.test" })),
        pki(&other.root, json!({ "subjectEmail": PERSON })),
    ]
}

async fn policies(tools: Tools) {
    let mut court = Court::new(tools).await;
    let instance = Instance::new();
    let files = instance.write(&court.stand.place.path(""));
    let folder = court.stand.place.path("other");
    fs::create_dir(&folder).expect("a folder");
    let stranger = Instance::new();
    let other = stranger.write(&folder);
    let key = Key::generate();
    court.stand.place.write("key.pub", key.public_pem());
    let public = court.stand.place.path("key.pub");
    court.add("nobody", None).await;
    court.add("job", Some(instance.recipe())).await;
    court.add("person", Some(person(instance.recipe()))).await;
    court
        .add("today", Some(person(instance.recipe()).now()))
        .await;
    // No policy names a clock: what one says is nothing to it.
    let stamped = person(instance.recipe()).flaw(Flaw::ManyTimestamps);
    court.add("stamped", Some(stamped)).await;
    let stamped = instance.recipe().by_key(&key).flaw(Flaw::ManyTimestamps);
    court.add("stamped-by-key", Some(stamped)).await;
    court
        .add("stranger", Some(person(stranger.recipe()).now()))
        .await;
    court.add("key", Some(instance.recipe().by_key(&key))).await;
    let unlogged = instance.recipe().by_key(&key).flaw(Flaw::NoEntry);
    court.add("unlogged", Some(unlogged)).await;
    let unlogged = person(instance.recipe()).now().flaw(Flaw::NoEntry);
    court.add("unlogged-today", Some(unlogged)).await;
    let (mut accepted, mut rejected) = (0, 0);
    for requirement in requirements(&files, &other, &public) {
        for (image, (theirs, ours)) in court.images.iter().zip(court.verdicts(&requirement).await) {
            assert_eq!(ours, theirs, "{image} under {requirement}");
            *(if ours { &mut accepted } else { &mut rejected }) += 1;
        }
    }
    // Neither of the two takes everything, or nothing.
    assert!(accepted > 15 && rejected > 100, "{accepted} and {rejected}");
}

async fn flaws(tools: Tools) {
    let mut court = Court::new(tools).await;
    let instance = Instance::new();
    let files = instance.write(&court.stand.place.path(""));
    let key = Key::generate();
    court.stand.place.write("key.pub", key.public_pem());
    let logged = json!({
        "type": "sigstoreSigned",
        "keyPath": court.stand.place.path("key.pub"),
        "rekorPublicKeyPath": files.rekor,
    });
    let own = json!({
        "type": "sigstoreSigned",
        "pki": { "caRootsPath": files.root, "subjectEmail": PERSON },
    });
    for (signer, requirement) in [
        (Signer::Certificate, by_certificate(&files)),
        (Signer::Certificate, own),
        (Signer::Key, logged),
    ] {
        // A certificate without a log is judged as it is today.
        let is_strict = requirement.get("pki").is_none();
        court.images.clear();
        let mut flaws = vec![None];
        flaws.extend(Flaw::all(signer, Form::Simple).into_iter().map(Some));
        for flaw in &flaws {
            let recipe = match signer {
                Signer::Certificate if is_strict => person(instance.recipe()),
                Signer::Certificate => person(instance.recipe()).now(),
                Signer::Key => instance.recipe().by_key(&key),
            };
            let name = format!("{signer:?}-{is_strict}-{flaw:?}").replace(['(', ')'], "");
            court.add(&name, Some(recipe.flaw(*flaw))).await;
        }
        for (flaw, (theirs, ours)) in flaws.iter().zip(court.verdicts(&requirement).await) {
            let is_stricter = flaw.is_some_and(|flaw| STRICTER.contains(&flaw));
            let row = format!("{flaw:?} under {requirement}: skopeo {theirs}, here {ours}");
            assert_eq!(ours, theirs && !is_stricter, "{row}");
        }
    }
}
