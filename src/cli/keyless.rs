//! Signing without a key, from flags, files and variables; and the question that comes before it.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::keyless::{
    IdentityToken, Places, Session, TokenError, TokenSource, authority_url, service_url,
};
use crate::limits::signature::{IDENTITY_TOKEN_BYTES_MAX, SIGNING_CONFIG_BYTES_MAX};
use crate::list::Sign;
use crate::registry::Services;
use crate::sigstore::Relaxed;

use super::Environment;
use super::args::{KeylessArgs, TrustArgs};
use super::error::Error;
use super::{keys, trust};

/// What is given for signing without a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) args: &'a KeylessArgs,
    /// `--trusted-root`, or what it is called where that is another's name.
    pub(super) trusted_root: Option<&'a PathBuf>,
    pub(super) root_flag: &'static str,
    /// Whether that is how images are signed of which the line does not say it.
    pub(super) is_usual: bool,
}

/// How images are signed, where the line does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usual<'a> {
    /// Not at all.
    NotSigned,
    /// By the private key in this file.
    Key(&'a Path),
    /// Without a key, by a token.
    Keyless,
}

/// Says how images are signed of which the line does not say it: by `key`, or without one where `given` says so.
/// Reads no token and asks nobody.
///
/// # Errors
///
/// When there is no way to sign, or flags contradict it.
pub(super) fn usual<'a>(
    key: Option<&'a Path>,
    given: Given<'_>,
    lines: &keys::Lines<'_>,
    environment: &Environment,
) -> Result<Usual<'a>, Error> {
    refuse_interactive(given.args)?;
    let has_token = given.args.identity_token.is_some() || environment.identity_token.is_some();
    let line = lines.get(&Sign::Keyless);
    if let Some(line) = line.filter(|_| !has_token) {
        let (image, _) = line.text.split_once(' ').unwrap_or((&line.text, ""));
        return Err(Error::refused(&format!(
            "{line}: `{image}` is to be signed without a key, and there is no identity token"
        ))
        .with_hint("`--identity-token TOKEN|FILE` or SIGSTORE_ID_TOKEN has one"));
    }
    let is_by_keys = line.is_none() && (key.is_some() || !(given.is_usual || lines.is_empty()));
    if is_by_keys {
        refuse_beside_key(given)?;
    }
    match key {
        Some(key) => {
            keys::check_private(key)?;
            Ok(Usual::Key(key))
        }
        None if given.is_usual && has_token => Ok(Usual::Keyless),
        None if !given.is_usual && !lines.is_empty() => Ok(Usual::NotSigned),
        None if has_token => Err(Error::refused(
            "there is nothing to sign with: some line says `none`, so a token in the environment alone signs \
             nothing, and no line asks for it",
        )
        .with_hint("`--identity-token TOKEN|FILE` or `--key FILE` signs what lines leave open")),
        // That of `mirror`: `sign` without a key and a token asks for either.
        None if given.is_usual => Err(Error::refused(
            "`--sign-keyless` needs an identity token",
        )
        .with_hint("`--identity-token TOKEN|FILE` or SIGSTORE_ID_TOKEN has one; `--sign-key FILE` signs by a key")),
        None => Err(
            Error::refused("there is nothing to sign with: neither a key nor an identity token")
                .with_hint("`--key FILE` names a private key; `consign generate-key` makes a pair")
                .with_hint(
                    "`--identity-token TOKEN|FILE` or SIGSTORE_ID_TOKEN signs without one, as whom the token names",
                ),
        ),
    }
}

/// Refuses flags that a signature by a key makes no use of.
fn refuse_beside_key(given: Given<'_>) -> Result<(), Error> {
    if let Some(flag) = given.args.first() {
        return Err(Error::refused(&format!(
            "`{flag}` is for signatures without a key, and a key is given"
        )));
    }
    if given.args.tlog_upload() == Some(true) {
        return Err(Error::refused(
            "`--tlog-upload` of signatures by a key is not there yet; without a key every signature is in the \
             log",
        ));
    }
    if given.trusted_root.is_some() {
        return Err(Error::refused(&format!(
            "`{}` is for signatures without a key, and a key is given",
            given.root_flag
        )));
    }
    Ok(())
}

fn refuse_interactive(args: &KeylessArgs) -> Result<(), Error> {
    match args.interactive() {
        Some(flag) => Err(Error::refused(&format!(
            "`{flag}` is not there: no browser is opened, and no provider is asked for a token"
        ))
        .with_hint("give the token itself with `--identity-token`, or in SIGSTORE_ID_TOKEN")),
        None => Ok(()),
    }
}

/// A session that signs without a key; asks whether it may, and contacts nobody.
///
/// # Errors
///
/// When a token, a URL or a file cannot be used, and when nobody agreed to what signing makes public.
pub(super) fn session(
    given: Given<'_>,
    services: Services,
    environment: &Environment,
) -> Result<Session, Error> {
    let args = given.args;
    if args.tlog_upload() == Some(false) {
        return Err(Error::refused(
            "`--tlog-upload=false` needs a key: a certificate lasts minutes, and the log alone says that the \
             signature was made while it did",
        ));
    }
    let (token, source) = token(args, environment)?;
    if let Some(at) = token.expired(Timestamp::now()) {
        return Err(Error::refused(&format!("the identity token ended at {at}"))
            .with_hint("CI gives a new one to each job; nothing was contacted"));
    }
    let places = places(args)?;
    let root = root(given, &places, environment)?;
    agreed(args.yes, &token, &places, environment)?;
    Ok(Session::new(services, places, source, Arc::new(root)))
}

/// The token, and where it is read again.
fn token(
    args: &KeylessArgs,
    environment: &Environment,
) -> Result<(IdentityToken, TokenSource), Error> {
    if let Some(text) = &args.identity_token {
        // cosign's rule: what looks like a token is one, and everything else a file.
        return match IdentityToken::parse(text) {
            Ok(token) => Ok(fixed(token)),
            Err(TokenError::Form(_)) => from_file(PathBuf::from(text.expose_secret())),
            Err(error) => Err(Error::usage("cannot use `--identity-token`", &error)),
        };
    }
    let Some(text) = &environment.identity_token else {
        return Err(Error::refused("there is no identity token")
            .with_hint("`--identity-token` or SIGSTORE_ID_TOKEN has one"));
    };
    let token = IdentityToken::parse(text);
    token
        .map(fixed)
        .map_err(|error| Error::usage("cannot use SIGSTORE_ID_TOKEN", &error))
}

fn fixed(token: IdentityToken) -> (IdentityToken, TokenSource) {
    let source = TokenSource::fixed(token.clone());
    (token, source)
}

fn from_file(path: PathBuf) -> Result<(IdentityToken, TokenSource), Error> {
    // The path may be a token with a mistake in it: it is not repeated.
    let what = "`--identity-token` is neither an identity token nor a file with one";
    let text = read(&path).map_err(|error| Error::usage(what, &error))?;
    let token = IdentityToken::parse(&text).map_err(|error| Error::usage(what, &error))?;
    // What is no file, a pipe of the shell, can be read once.
    if !path.is_file() {
        return Ok(fixed(token));
    }
    let again = move || {
        read(&path)
            .map_err(|error| format!("the file of `--identity-token` cannot be read: {error}"))
    };
    let source = TokenSource::new(&token, again);
    Ok((token, source))
}

fn read(path: &Path) -> io::Result<SecretString> {
    let limit = u64::try_from(IDENTITY_TOKEN_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    Ok(text.into())
}

/// The services that are asked.
fn places(args: &KeylessArgs) -> Result<Places, Error> {
    let url = |flag: &str, text: &Option<String>| -> Result<Option<Url>, Error> {
        let url = text.as_deref().map(service_url).transpose();
        url.map_err(|error| Error::refused(&format!("`{flag}`: {error}")))
    };
    let fulcio = args.fulcio_url.as_deref().map(authority_url).transpose();
    let fulcio = fulcio.map_err(|error| Error::refused(&format!("`--fulcio-url`: {error}")))?;
    let rekor = url("--rekor-url", &args.rekor_url)?;
    let mut clocks = Vec::new();
    for text in &args.tsa_urls {
        clocks.extend(url("--tsa-url", &Some(text.clone()))?);
    }
    let base = match &args.signing_config {
        Some(path) => config(path)?,
        None if fulcio.is_some() != rekor.is_some() => {
            let (one, other) = if fulcio.is_some() {
                ("--fulcio-url", "--rekor-url")
            } else {
                ("--rekor-url", "--fulcio-url")
            };
            return Err(Error::refused(&format!(
                "`{one}` needs `{other}`: one instance would write into what belongs to another"
            )));
        }
        None => {
            let public = Places::public();
            let public = public.map_err(|error| {
                Error::usage("cannot use the services that are built in", &error)
            })?;
            match &fulcio {
                // Whose clocks would they be?
                Some(_) => public.without_clocks(),
                None => public,
            }
        }
    };
    Ok(base.with(fulcio, rekor, clocks))
}

fn config(path: &Path) -> Result<Places, Error> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            let mut file = file.take(SIGNING_CONFIG_BYTES_MAX + 1);
            file.read_to_string(&mut text)
        })
        .map_err(|error| {
            Error::usage(&format!("cannot read the signing config `{shown}`"), &error)
        })?;
    if u64::try_from(text.len()).is_ok_and(|length| length > SIGNING_CONFIG_BYTES_MAX) {
        return Err(Error::refused(&format!(
            "`{shown}` has more than {SIGNING_CONFIG_BYTES_MAX} bytes, which no signing config has"
        )));
    }
    Places::parse(&text)
        .map_err(|error| Error::usage(&format!("cannot use the signing config `{shown}`"), &error))
}

/// By what that which comes back is verified.
fn root(
    given: Given<'_>,
    places: &Places,
    environment: &Environment,
) -> Result<crate::sigstore::TrustRoot, Error> {
    let is_public = Places::public().is_ok_and(|public| public.is_same_instance(places));
    let says = given.trusted_root.is_some() || environment.sigstore.names_root();
    if !is_public && !says {
        let flag = given.root_flag;
        return Err(Error::refused(&format!(
            "the services are not those of the public Sigstore instance, and nothing says what is trusted of \
             them: `{flag}` is missing"
        ))
        .with_hint(
            "what they make is verified before it is pushed, and everybody who verifies it needs the same file",
        ));
    }
    let args = TrustArgs {
        trusted_root: given.trusted_root.cloned(),
        ..TrustArgs::default()
    };
    trust::root(&args, Relaxed::default(), environment)
}

/// Asks whether it may be made public who signs, unless somebody has agreed.
fn agreed(
    yes: Option<bool>,
    token: &IdentityToken,
    places: &Places,
    environment: &Environment,
) -> Result<(), Error> {
    let yes = match (yes, &environment.cosign_yes) {
        (Some(yes), _) => yes,
        (None, Some(text)) => boolean(text).ok_or_else(|| {
            Error::refused("COSIGN_YES is neither true nor false, nor any other word for them")
        })?,
        (None, None) => false,
    };
    if yes {
        return Ok(());
    }
    let identity = token.identity();
    // Of a job the authority writes down the URI of its pipeline, among others.
    let made = if identity.contains('@') {
        ""
    } else {
        ", or what the certificate authority makes of it and of the rest of the token"
    };
    let consequence = format!(
        "signing without a key writes the identity `{identity}`{made}, vouched for by `{}`, into certificates \
         and public logs for good ({}); nobody can take it back",
        token.issuer(),
        places.logs().join(", "),
    );
    let hint = "`-y`, `--yes` or COSIGN_YES=true agrees to that; nothing was contacted";
    if !io::stdin().is_terminal() || !environment.is_terminal {
        return Err(Error::refused(&consequence).with_hint(hint));
    }
    let question = crate::text::cleaned(&consequence, 2000);
    let mut answer = String::new();
    write!(io::stderr().lock(), "{question}.\nSign? [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Error::usage("cannot ask whether that is agreed to", &error))?;
    let answer = answer.trim();
    if answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(Error::refused("it was not agreed to").with_hint(hint))
    }
}

/// A boolean as Go, and so cosign, reads it (`strconv.ParseBool`).
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
