//! cosign 2, cosign 3 and skopeo with the instance: they sign against its services, take what it makes,
//! and refuse what is wrong with it, where they look.

use std::sync::Arc;

use consign::event::Format;
use libtest_mimic::Trial;
use serde_json::json;

use super::{
    FORMS, Files, Flaw, Form, ISSUER, Identity, Instance, JOB, Key, Mischief, Server, Signer,
    email_token, job_token, put,
};
use crate::harness::{Tool, Tools, with_tools};
use crate::registry::{Image, Pushed, TestRegistry};
use crate::signatures::others::{BOTH, Cosign, Said, Skopeo, policy, said};
use crate::signatures::stand::{PASSPHRASE, Stand};

pub(super) fn trials() -> Vec<Trial> {
    let cosigns = &[Tool::Cosign2, Tool::Cosign3];
    vec![
        with_tools(
            "instance::cosign_signs_against_it_and_verifies",
            cosigns,
            signed_by_cosign,
        ),
        with_tools(
            "instance::cosign_takes_what_it_makes",
            cosigns,
            made_for_cosign,
        ),
        with_tools("instance::cosign_refuses_flaws", cosigns, refused_by_cosign),
        with_tools(
            "instance::cosign_sees_what_services_do_wrong",
            cosigns,
            mischief,
        ),
        with_tools(
            "instance::skopeo_takes_what_it_makes_under_a_policy",
            &[Tool::Skopeo],
            made_for_skopeo,
        ),
    ]
}

/// Somebody who signs by hand.
const PERSON: &str = "dev@instance.test";
/// Who vouches for persons.
const ACCOUNTS: &str = "https://accounts.instance.test";

/// The flag by which cosign asks no log.
pub(crate) const UNLOGGED: &str = "--tlog-upload=false";

/// Who signs with cosign.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    /// Whom this token names.
    Token(&'a str),
    /// The holder of the key in this file, a test key.
    Key(&'a str),
}

/// cosign with an instance.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    /// Its tools.
    pub(crate) tools: &'a Tools,
    /// What it trusts.
    pub(crate) files: &'a Files,
}

impl Client<'_> {
    /// Signs an image, as and where a format has it; `more` are flags.
    pub(crate) async fn sign(
        &self,
        cosign: Cosign,
        (server, by): (&Server, By<'_>),
        (format, more): (Format, &str),
        image: &str,
    ) -> Said {
        let url = server.url();
        let root = self.files.trusted_root.display();
        let named = format!("--fulcio-url {url} --rekor-url {url}");
        let how = match (cosign, format) {
            (Cosign::Two, Format::Referrer) => format!("{named} --registry-referrers-mode oci-1-1"),
            (Cosign::Two, _) => named,
            (Cosign::Three, Format::Bundle) if more == UNLOGGED => {
                "--use-signing-config=false".to_owned()
            }
            (Cosign::Three, Format::Bundle) => {
                let config = self.tools.folder().join("signing-config.json");
                let text = server.signing_config().to_string();
                std::fs::write(&config, text).expect("it is written");
                format!(
                    "--signing-config {} --trusted-root {root}",
                    config.display()
                )
            }
            (Cosign::Three, _) => {
                format!("{named} --use-signing-config=false --new-bundle-format=false")
            }
        };
        let (key, secret) = match by {
            By::Token(token) => (String::new(), ("SIGSTORE_ID_TOKEN", token)),
            By::Key(file) => (format!("--key {file}"), ("COSIGN_PASSWORD", PASSPHRASE)),
        };
        let words = format!("sign -y {how} {key} {more} {image}");
        self.run(cosign, &words, &[secret]).await
    }

    /// Verifies what somebody signed; `more` are flags.
    pub(crate) async fn verify(
        &self,
        cosign: Cosign,
        (identity, issuer): (&str, &str),
        more: &str,
        image: &str,
    ) -> Said {
        let who = format!("--certificate-identity {identity} --certificate-oidc-issuer {issuer}");
        self.check(cosign, &format!("{who} {more} {image}")).await
    }

    /// Verifies by these flags.
    pub(crate) async fn check(&self, cosign: Cosign, words: &str) -> Said {
        let root = match cosign {
            Cosign::Two => String::new(),
            Cosign::Three => format!("--trusted-root {}", self.files.trusted_root.display()),
        };
        self.run(cosign, &format!("verify {root} {words}"), &[])
            .await
    }

    /// Signs or verifies by a key, with an annotation as it is typed, and no log.
    pub(crate) async fn with_key(
        &self,
        cosign: Cosign,
        what: &str,
        (key, annotation): (&str, &str),
        image: &str,
    ) -> Said {
        let how = match (what, cosign) {
            ("sign", Cosign::Two) => "-y --tlog-upload=false",
            ("sign", Cosign::Three) => "-y --tlog-upload=false --use-signing-config=false",
            _ => "--insecure-ignore-tlog",
        };
        let mut command = self.tools.command(cosign.tool());
        command
            .args([what, "--key", key])
            .args(how.split(' '))
            .args(["--annotations", annotation, image])
            .env("COSIGN_PASSWORD", PASSPHRASE);
        said(command).await
    }

    async fn run(&self, cosign: Cosign, words: &str, more: &[(&str, &str)]) -> Said {
        let mut command = self.tools.command(cosign.tool());
        command
            .args(words.split_whitespace())
            .envs(self.files.variables())
            .envs(more.iter().copied())
            .env("COSIGN_EXPERIMENTAL", "1");
        said(command).await
    }
}

/// An instance, and a registry with images.
struct Scene {
    tools: Tools,
    instance: Arc<Instance>,
    files: Files,
    registry: TestRegistry,
}

impl Scene {
    async fn new(tools: Tools) -> Self {
        let instance = Arc::new(Instance::new());
        Self {
            files: instance.write(tools.folder()),
            registry: TestRegistry::start().await,
            instance,
            tools,
        }
    }

    const fn client(&self) -> Client<'_> {
        Client {
            tools: &self.tools,
            files: &self.files,
        }
    }
}

async fn image(registry: &TestRegistry, name: &str) -> (Pushed, String) {
    let pushed = Image::new(&[name]).push(registry, name, Some("1")).await;
    (pushed, format!("{}/{name}:1", registry.host()))
}

async fn signed_by_cosign(tools: Tools) {
    let scene = Scene::new(tools).await;
    let (client, registry) = (scene.client(), &scene.registry);
    let server = Server::start(scene.instance.clone()).await;
    let job = (job_token(), (JOB, ISSUER));
    let person = (email_token(PERSON, ACCOUNTS), (PERSON, ACCOUNTS));
    for (number, (cosign, format, (token, who))) in [
        (Cosign::Two, Format::Tag, &job),
        (Cosign::Two, Format::Referrer, &person),
        (Cosign::Three, Format::Tag, &person),
        (Cosign::Three, Format::Bundle, &job),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, name) = image(registry, &format!("app{number}")).await;
        let how = (format, "-a team=web");
        let said = client
            .sign(cosign, (&server, By::Token(token)), how, &name)
            .await;
        said.good();
        let log = || server.registry().log_text();
        assert_eq!(server.certificates(), number + 1, "{}", log());
        assert_eq!(server.entries(), number + 1, "{}", log());
        let more = match format {
            Format::Referrer => "--experimental-oci11 -a team=web",
            Format::Tag | Format::Bundle => "-a team=web",
        };
        for reader in BOTH {
            if (reader, format) == (Cosign::Two, Format::Bundle) {
                continue;
            }
            client.verify(reader, *who, more, &name).await.good();
            let other = ("other@instance.test", who.1);
            let said = client.verify(reader, other, more, &name).await;
            said.refused(match format {
                Format::Referrer => "no signatures found",
                Format::Tag => "none of the expected identities matched",
                Format::Bundle => "no matching CertificateIdentity found",
            });
        }
    }
}

async fn made_for_cosign(tools: Tools) {
    let scene = Scene::new(tools).await;
    let (client, registry) = (scene.client(), &scene.registry);
    let key = Key::generate();
    let public = scene.tools.folder().join("key.pub");
    std::fs::write(&public, key.public().pem()).expect("it is written");
    for form in FORMS {
        let format = match form {
            Form::Simple => Format::Tag,
            Form::Bundle01 | Form::Bundle02 | Form::Bundle03 => Format::Bundle,
        };
        for is_key in [false, true] {
            let name = format!("{form:?}-{is_key}").to_lowercase();
            let (pushed, image) = image(registry, &name).await;
            let recipe = scene.instance.recipe();
            let recipe = if is_key { recipe.by_key(&key) } else { recipe };
            let place = format!("{}/{name}", registry.host());
            let content = form.content(&place, pushed.digest, &[("team", "web")]);
            let signed = recipe.sign(content);
            put(registry, &name, (format, form), &pushed, &[signed]).await;
            let words = if is_key {
                format!("--key {} -a team=web {image}", public.display())
            } else {
                format!(
                    "--certificate-identity {JOB} --certificate-oidc-issuer {ISSUER} -a team=web \
                     {image}"
                )
            };
            for cosign in BOTH {
                if cosign == Cosign::Two && form != Form::Simple {
                    continue;
                }
                let said = client.check(cosign, &words).await;
                match form {
                    Form::Simple | Form::Bundle03 => drop(said.good()),
                    // It looks for the last version alone.
                    Form::Bundle01 | Form::Bundle02 => said.refused("no signatures found"),
                }
            }
        }
    }
}

async fn refused_by_cosign(tools: Tools) {
    let scene = Scene::new(tools).await;
    let (client, registry) = (scene.client(), &scene.registry);
    for (form, format) in [
        (Form::Simple, Format::Tag),
        (Form::Bundle03, Format::Bundle),
    ] {
        for flaw in Flaw::all(Signer::Certificate, form) {
            let name = format!("{form:?}-{flaw:?}").to_lowercase();
            let (pushed, image) = image(registry, &name).await;
            let content = form.content("instance.test/app", pushed.digest, &[]);
            let signed = scene.instance.recipe().flaw(flaw).sign(content);
            put(registry, &name, (format, form), &pushed, &[signed]).await;
            for cosign in BOTH {
                if cosign == Cosign::Two && form != Form::Simple {
                    continue;
                }
                let said = client
                    .verify(cosign, (JOB, ISSUER), "--offline", &image)
                    .await;
                let is_taken = TAKEN_BY_COSIGN.contains(&flaw);
                assert_eq!(said.is_good, is_taken, "{flaw:?}: {}", said.text);
                assert!(!said.text.contains("rekor.sigstore.dev"), "{}", said.text);
                let words = SAID_BY_COSIGN.iter();
                for (_, _, words) in words.filter(|row| (row.0, row.1) == (flaw, form)) {
                    assert!(said.text.contains(words), "{flaw:?}: {}", said.text);
                }
            }
        }
    }
}

async fn made_for_skopeo(tools: Tools) {
    let instance = Instance::new();
    let files = instance.write(tools.folder());
    let registry = TestRegistry::start().await;
    let stand = Stand::new(tools);
    let requirement = json!({
        "type": "sigstoreSigned",
        "fulcio": {
            "caPath": files.root,
            "oidcIssuer": ACCOUNTS,
            "subjectEmail": PERSON,
        },
        "rekorPublicKeyPath": files.rekor,
    });
    let skopeo = Skopeo::with(&stand, &policy(&registry.host(), &requirement));
    let person = || Identity::Email(PERSON.to_owned());
    let mut flaws = vec![None];
    flaws.extend(
        Flaw::all(Signer::Certificate, Form::Simple)
            .into_iter()
            .map(Some),
    );
    for flaw in flaws {
        let name = format!("{flaw:?}").to_lowercase().replace(['(', ')'], "");
        let (pushed, image) = image(&registry, &name).await;
        let content = Form::Simple.content(&image, pushed.digest, &[]);
        let signed = instance
            .recipe()
            .by(person(), ACCOUNTS)
            .flaw(flaw)
            .sign(content);
        put(
            &registry,
            &name,
            (Format::Tag, Form::Simple),
            &pushed,
            &[signed],
        )
        .await;
        let said = skopeo.pull("", &image).await;
        let is_taken = flaw.is_none_or(|flaw| TAKEN_BY_SKOPEO.contains(&flaw));
        assert_eq!(said.is_good, is_taken, "{flaw:?}: {}", said.text);
    }
}

/// What the services do wrong is seen by the client that signs, or by those who verify.
async fn mischief(tools: Tools) {
    let scene = Scene::new(tools).await;
    let (client, registry) = (scene.client(), &scene.registry);
    let server = Server::start(scene.instance.clone()).await;
    for mischief in [
        None,
        Some(Mischief::CertificateOfOtherKey),
        Some(Mischief::CertificateExpired),
        Some(Mischief::CertificateWithoutSct),
        Some(Mischief::CertificateOfSomebodyElse),
        Some(Mischief::CertificateOfOtherAuthority),
        Some(Mischief::EntryOfSomethingElse),
        Some(Mischief::EntryOfOtherLog),
        Some(Mischief::EntryWithoutSet),
        None,
    ] {
        server.misbehave(mischief);
        server.issue_for(if mischief.is_none() { 5 } else { 600 });
        for (cosign, format) in [(Cosign::Two, Format::Tag), (Cosign::Three, Format::Bundle)] {
            let name = format!("{mischief:?}-{cosign:?}").to_lowercase();
            let (_, image) = image(registry, &name.replace(['(', ')'], "")).await;
            let token = job_token();
            let signed = client
                .sign(cosign, (&server, By::Token(&token)), (format, ""), &image)
                .await;
            let read = client
                .verify(cosign, (JOB, ISSUER), "--offline", &image)
                .await;
            let is_good = signed.is_good && read.is_good;
            let text = || format!("{mischief:?}: {}{}", signed.text, read.text);
            assert_eq!(is_good, mischief.is_none(), "{}", text());
        }
    }
}

/// What cosign does not look at, in either version.
const TAKEN_BY_COSIGN: &[Flaw] = &[
    Flaw::LoggedInTheFuture,
    Flaw::LeafIsAuthority,
    Flaw::TwoNames,
    Flaw::ManyTimestamps,
];

/// What skopeo does not look at under a policy: promises of certificate logs, and whether the chain that
/// travels with a signature is a known one.
const TAKEN_BY_SKOPEO: &[Flaw] = &[
    Flaw::LoggedInTheFuture,
    Flaw::NoSct,
    Flaw::BadSct,
    Flaw::ForeignSct,
    Flaw::UnknownIntermediate,
    Flaw::LeafIsAuthority,
    Flaw::TwoNames,
];

/// What both versions say of some of the rest.
const SAID_BY_COSIGN: &[(Flaw, Form, &str)] = &[
    (
        Flaw::NoSct,
        Form::Simple,
        "does not include required embedded SCT",
    ),
    (Flaw::BadSet, Form::Simple, "unable to verify SET"),
    (
        Flaw::ForeignEntry,
        Form::Simple,
        "signature in bundle does not match signature being verified",
    ),
    (
        Flaw::LoggedAfterEnd,
        Form::Simple,
        "checking expiry on certificate with bundle",
    ),
    (
        Flaw::NamedInComment,
        Form::Simple,
        "none of the expected identities matched",
    ),
    (
        Flaw::EntryOfOtherSigner,
        Form::Bundle03,
        "transparency log certificate does not match",
    ),
    (
        Flaw::BadCheckpoint,
        Form::Bundle03,
        "signature on checkpoint did not verify",
    ),
    (
        Flaw::CheckpointOfOtherTree,
        Form::Bundle03,
        "proof root hash does not match signed tree head",
    ),
    (
        Flaw::ExpiredIntermediate,
        Form::Bundle03,
        "leaf certificate verification failed",
    ),
];
