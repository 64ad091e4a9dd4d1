//! Keys from files, and what is asked of signatures or said in them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::signature::KEY_FILE_BYTES_MAX;
use crate::list::{Line, Sign};
use crate::oci::{Digest, PlatformSelection, Reference, Registry, Repository, Tag};
use crate::plan::{Job, Plan};
use crate::policy::SignedIdentity;
use crate::runner::{Identity, Means, Signer};
use crate::sign::{Claim, Formats};
use crate::sigstore::{KeyError, KeyFile, PrivateKey, PublicKey, SealedKey};
use crate::template::{Template, Values};
use crate::verify::Subjects;

use super::args::{Access, Annotations, IdentityArgs, Signing};
use super::error::Error;
use super::keyless::Usual;
use super::passphrase::{Prompt, passphrase};
use super::{Environment, access, keyless};

/// The public keys of `files`.
///
/// # Errors
///
/// When one is unreadable, or is no public key.
pub(super) fn public(files: &[PathBuf]) -> Result<Vec<PublicKey>, Error> {
    files.iter().map(|path| public_one(path)).collect()
}

fn public_one(path: &Path) -> Result<PublicKey, Error> {
    match read(path)? {
        KeyFile::Public(key) => Ok(key),
        KeyFile::Sealed(_) => Err(Error::refused(&format!(
            "`{}` is a private key; a validation needs the public one",
            path.display()
        ))
        .with_hint("`consign generate-key` wrote it beside, with the ending `.pub`")),
    }
}

fn sealed(path: &Path) -> Result<SealedKey, Error> {
    match read(path)? {
        KeyFile::Sealed(key) => Ok(key),
        KeyFile::Public(_) => Err(Error::refused(&format!(
            "`{}` is a public key; signing needs the private one",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<KeyFile, Error> {
    let shown = path.display();
    let scheme = path.to_str().and_then(|text| text.split_once("://"));
    if let Some((scheme, _)) = scheme {
        return Err(Error::refused(&format!(
            "keys by `{scheme}://` are not there yet; keys in files are"
        )));
    }
    let bytes = bytes(path)
        .map_err(|error| Error::usage(&format!("cannot read the key `{shown}`"), &error))?;
    KeyFile::parse(&bytes).map_err(|error| {
        let what = format!("cannot use the key `{shown}`");
        match error.hint() {
            Some(hint) => Error::usage(&what, &error).with_hint(hint),
            None => Error::usage(&what, &error),
        }
    })
}

/// What is in a key file, up to what makes it too long to be one.
pub(super) fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What signatures must name.
pub(super) fn identity(args: &IdentityArgs) -> Result<Identity, Error> {
    match (&args.exact_repository, &args.signed_identity) {
        (Some(template), _) if template.begins_with_path() => Err(Error::refused(&format!(
            "`--exact-repository {template}` names no registry"
        ))
        .with_hint("`docker.io/{path}` names one; so do {repository} and {source}")),
        (Some(template), _) if names_more(template) => Err(Error::refused(&format!(
            "`--exact-repository {template}` has a tag or a digest, which it would not compare"
        ))
        .with_hint("`--signed-identity exactReference:R` compares all of R")),
        (Some(template), _) => {
            if template.is_constant() {
                let text = template.to_string();
                SignedIdentity::exact_repository(&text)
                    .map(Identity::Rule)
                    .map_err(|why| Error::refused(&format!("`--exact-repository {text}`: {why}")))
            } else {
                Ok(Identity::ExactRepository(template.clone()))
            }
        }
        (None, Some(rule)) => Ok(Identity::Rule(rule.clone())),
        (None, None) => Ok(Identity::Rule(SignedIdentity::MatchRepoDigestOrExact)),
    }
}

/// Whether a template of a repository has a tag or a digest behind it.
fn names_more(template: &Template) -> bool {
    let example = Digest::sha256(b"");
    let image = Repository::new(Registry::docker_hub(), "library/example");
    let Ok(repository) = image else { return false };
    let values = Values {
        repository: &repository,
        tag: None,
        digest: None,
        source: &repository,
    };
    let tagged = Values {
        tag: Some(&Tag::latest()),
        digest: Some(&example),
        ..values
    };
    match template
        .render(&tagged)
        .map(|text| text.parse::<Reference>())
    {
        Ok(Ok(name)) => name.tag.is_some() || name.digest.is_some(),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Refuses an identity that names no image of a registry for some line, or one image for several, before
/// anything is contacted. Lines that are not signed are not looked at.
fn check_identity(identity: &Template, plan: &Plan, usual: Usual<'_>) -> Result<(), Error> {
    let example = Digest::sha256(b"");
    let is_signed = |job: &&Job| match &job.settings.sign {
        None | Some(Sign::None) => usual != Usual::NotSigned,
        Some(Sign::Key(_) | Sign::Keyless) => true,
    };
    let signed: Vec<&Job> = plan.distinct().filter(is_signed).collect();
    if identity.is_constant() && signed.len() > 1 {
        return Err(Error::refused(&format!(
            "`--sign-identity {identity}` would name one image for all lines"
        ))
        .with_hint("a template such as `{repository}:{tag}` names each by its own name"));
    }
    for job in signed {
        let image = &job.destination;
        let values = Values {
            repository: &image.repository,
            tag: image.tag.as_ref(),
            digest: Some(image.digest.as_ref().unwrap_or(&example)),
            source: &job.origin,
        };
        // What a line does not have is that line's own failure.
        let Ok(text) = identity.render(&values) else {
            continue;
        };
        let wrong = |why: &dyn std::fmt::Display| {
            let what = format!(
                "`--sign-identity {identity}` makes `{text}` of {}: {why}",
                job.line
            );
            Error::refused(&what).with_hint("`{repository}:{tag}` is the usual one")
        };
        if !Reference::names_registry(&text) {
            return Err(wrong(&"it names no registry"));
        }
        let claim = Claim {
            identity: text.clone(),
            annotations: BTreeMap::new(),
        };
        claim
            .check(&Formats::Usual)
            .map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// Refuses a private key that cannot be one, without opening it.
pub(super) fn check_private(path: &Path) -> Result<(), Error> {
    sealed(path).map(drop)
}

/// All annotations, those of `-a` too.
///
/// # Errors
///
/// When one is none, or stands there twice with different values.
pub(super) fn annotations<'a>(
    long: &[Annotations],
    short: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, Template>, Error> {
    let mut all: BTreeMap<String, Template> = BTreeMap::new();
    let mut given: Vec<(String, Template)> = Vec::new();
    for Annotations(pairs) in long {
        given.extend(pairs.iter().cloned());
    }
    for text in short {
        let more: Result<Annotations, String> = text.parse();
        let Annotations(pairs) =
            more.map_err(|why| Error::refused(&format!("`-a {text}`: {why}")))?;
        given.extend(pairs);
    }
    for (name, value) in given {
        if let Some(other) = all.get(&name)
            && *other != value
        {
            return Err(Error::refused(&format!(
                "the annotation `{name}` is given twice, as `{other}` and as `{value}`"
            )));
        }
        all.insert(name, value);
    }
    Ok(all)
}

/// What is signed, and what it says.
pub(super) struct What<'a> {
    pub(super) identity: Option<&'a Template>,
    pub(super) annotations: BTreeMap<String, Template>,
    pub(super) subjects: Subjects,
    pub(super) selection: PlatformSelection,
}

/// What is given to sign with.
#[derive(Clone, Copy)]
pub(super) struct With<'a> {
    /// Where the line does not say it.
    pub(super) usual: Usual<'a>,
    /// Where it does, each with the first line that says so.
    pub(super) lines: &'a Lines<'a>,
    /// What is given for signatures without a key.
    pub(super) given: keyless::Given<'a>,
    /// How services are asked for them.
    pub(super) access: &'a Access,
}

/// How lines say that their images are signed, each with the first line that says so.
pub(super) type Lines<'a> = BTreeMap<Sign, &'a Line>;

/// How the lines of `plan` say that their images are signed.
pub(super) fn lines(plan: &Plan) -> Lines<'_> {
    let mut found = BTreeMap::new();
    for job in plan.distinct() {
        match &job.settings.sign {
            Some(sign @ (Sign::Key(_) | Sign::Keyless)) => {
                found.entry(sign.clone()).or_insert(&job.line);
            }
            Some(Sign::None) | None => {}
        }
    }
    found
}

/// Refuses private keys of lines that cannot be any, without opening one.
///
/// # Errors
///
/// When one is unreadable or no private key; its line is named.
pub(super) fn check_lines(lines: &Lines<'_>) -> Result<(), Error> {
    for (sign, line) in lines {
        if let Sign::Key(path) = sign {
            check_private(Path::new(path)).map_err(|error| error.in_line(&line.to_string()))?;
        }
    }
    Ok(())
}

/// Says who signs: opens the private key, once for the whole run, or asks whether it may be made public who
/// signs without one.
///
/// # Errors
///
/// When the key or its passphrase is wrong, or the token; when nobody agreed; when one constant identity is
/// wanted for several images.
pub(super) async fn signer(
    with: With<'_>,
    signing: &Signing,
    what: What<'_>,
    (plan, environment): (&Plan, &Environment),
) -> Result<Signer, Error> {
    if let Some(identity) = what.identity {
        check_identity(identity, plan, with.usual)?;
    }
    let mut session = None;
    let mut keyless = || -> Result<Means, Error> {
        if let Some(session) = &session {
            return Ok(Means::Keyless(Arc::clone(session)));
        }
        let services = access::services(with.access, environment)?;
        let new = Arc::new(keyless::session(with.given, services, environment)?);
        session = Some(Arc::clone(&new));
        Ok(Means::Keyless(new))
    };
    let means = match with.usual {
        Usual::NotSigned => None,
        Usual::Key(path) => Some(Means::Key(Arc::new(
            opened(path, signing, environment).await?,
        ))),
        Usual::Keyless => Some(keyless()?),
    };
    let mut own = HashMap::new();
    for (sign, line) in with.lines {
        let means = match sign {
            Sign::Key(path) => opened(Path::new(path), signing, environment)
                .await
                .map(|key| Means::Key(Arc::new(key))),
            Sign::Keyless => keyless(),
            Sign::None => continue,
        };
        let means = means.map_err(|error| error.in_line(&line.to_string()))?;
        own.insert(sign.clone(), means);
    }
    Ok(Signer {
        means,
        own,
        identity: what.identity.cloned(),
        annotations: what.annotations,
        subjects: what.subjects,
        selection: what.selection,
        formats: signing.formats(),
    })
}

/// The private key at `path`.
async fn opened(
    path: &Path,
    signing: &Signing,
    environment: &Environment,
) -> Result<PrivateKey, Error> {
    let sealed = sealed(path)?;
    let passphrase = passphrase(
        signing.passphrase_file.as_deref(),
        environment,
        Prompt::Open(path),
    )?;
    // It takes some 100 ms of one core and 64 MiB; signals must be heard meanwhile.
    let opened = tokio::task::spawn_blocking(move || sealed.open(&passphrase)).await;
    let what_failed = || format!("cannot use the key `{}`", path.display());
    match opened {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(error)) => {
            let is_passphrase = matches!(error, KeyError::Passphrase);
            let error = Error::usage(&what_failed(), &error);
            Err(if is_passphrase {
                error.with_hint(
                    "it is read from `--passphrase-file`, `COSIGN_PASSWORD`, or a prompt",
                )
            } else {
                error
            })
        }
        Err(error) => Err(Error::usage(&what_failed(), &error)),
    }
}
