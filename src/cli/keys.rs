//! Keys from files, and what is asked of signatures or said in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::oci::PlatformSelection;
use crate::plan::Plan;
use crate::policy::SignedIdentity;
use crate::runner::{Identity, Signer};
use crate::sigstore::{KEY_FILE_BYTES_MAX, KeyError, KeyFile, PublicKey, SealedKey};
use crate::template::Template;
use crate::verify::Subjects;

use super::Environment;
use super::args::{IdentityArgs, Signing, annotation};
use super::error::Error;
use super::passphrase::{Prompt, passphrase};

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

/// All annotations, those of `-a` too.
///
/// # Errors
///
/// When one is none, or stands there twice with different values.
pub(super) fn annotations<'a>(
    long: &[(String, Template)],
    short: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, Template>, Error> {
    let mut all: BTreeMap<String, Template> = BTreeMap::new();
    let short = short
        .into_iter()
        .map(|text| annotation(text).map_err(|why| Error::refused(&format!("`-a {text}`: {why}"))));
    for one in long.iter().cloned().map(Ok).chain(short) {
        let (name, value) = one?;
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

/// Opens the private key at `path`, once for the whole run, and says who signs with it.
///
/// # Errors
///
/// When the key or its passphrase is wrong, or one constant identity is wanted for several images.
pub(super) async fn signer(
    path: &Path,
    signing: &Signing,
    what: What<'_>,
    (plan, environment): (&Plan, &Environment),
) -> Result<Signer, Error> {
    if let Some(identity) = what.identity
        && identity.is_constant()
        && plan.distinct().count() > 1
    {
        return Err(Error::refused(&format!(
            "`--sign-identity {identity}` would name one image for all lines"
        ))
        .with_hint("a template such as `{repository}:{tag}` names each by its own name"));
    }
    let sealed = sealed(path)?;
    let passphrase = passphrase(
        signing.passphrase_file.as_deref(),
        environment,
        Prompt::Open(path),
    )?;
    // It takes some 100 ms of one core and 64 MiB; signals must be heard meanwhile.
    let opened = tokio::task::spawn_blocking(move || sealed.open(&passphrase)).await;
    let what_failed = || format!("cannot use the key `{}`", path.display());
    let key = match opened {
        Ok(Ok(key)) => key,
        Ok(Err(error)) => {
            let is_passphrase = matches!(error, KeyError::Passphrase);
            let error = Error::usage(&what_failed(), &error);
            return Err(if is_passphrase {
                error.with_hint(
                    "it is read from `--passphrase-file`, `COSIGN_PASSWORD`, or a prompt",
                )
            } else {
                error
            });
        }
        Err(error) => return Err(Error::usage(&what_failed(), &error)),
    };
    Ok(Signer {
        key: Arc::new(key),
        identity: what.identity.cloned(),
        annotations: what.annotations,
        subjects: what.subjects,
        selection: what.selection,
        formats: signing.formats(),
    })
}
