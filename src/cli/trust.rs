//! Who may have signed, from flags and files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::policy::SignedIdentity;
use crate::runner::Identity;
use crate::sigstore::{
    Certificates, LoggedKeys, Pieces, ROOT_BYTES_MAX, Relaxed, Signers, TrustRoot, Whom, Words,
};

use super::Environment;
use super::args::{IdentityArgs, TrustArgs, Who};
use super::error::Error;
use super::keys;

/// Who may have signed, and what every report says of how they are known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) signers: Arc<Signers>,
    pub(super) warnings: Vec<String>,
}

/// What cosign's variables name: each a file, or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// `SIGSTORE_ROOT_FILE`: certificates of authorities.
    pub(super) roots: Option<PathBuf>,
    /// `SIGSTORE_REKOR_PUBLIC_KEY`.
    pub(super) log: Option<PathBuf>,
    /// `SIGSTORE_CT_LOG_PUBLIC_KEY_FILE`.
    pub(super) certificate_log: Option<PathBuf>,
    /// `SIGSTORE_TSA_CERTIFICATE_FILE`.
    pub(super) timestamps: Option<PathBuf>,
}

impl Variables {
    const fn is_empty(&self) -> bool {
        self.roots.is_none()
            && self.log.is_none()
            && self.certificate_log.is_none()
            && self.timestamps.is_none()
    }

    /// The same as flags.
    fn as_args(&self) -> TrustArgs {
        TrustArgs {
            ca_roots: self.roots.clone(),
            rekor_public_keys: self.log.clone().into_iter().collect(),
            ct_log_public_keys: self.certificate_log.clone().into_iter().collect(),
            timestamp_chains: self.timestamps.clone().into_iter().collect(),
            ..TrustArgs::default()
        }
    }
}

/// Names of flags for messages: those of `mirror` have `verify-` in front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) key: &'static str,
    pub(super) identity: &'static str,
    pub(super) issuer: &'static str,
}

/// The flags of `validate`.
pub(super) const VALIDATE: Flags = Flags {
    key: "--key",
    identity: "--certificate-identity",
    issuer: "--certificate-oidc-issuer",
};

/// The flags of `mirror` and `copy`.
pub(super) const VERIFY: Flags = Flags {
    key: "--verify-key",
    identity: "--verify-certificate-identity",
    issuer: "--verify-certificate-oidc-issuer",
};

/// Who may have signed, as the command line says it; `None` where it says nothing.
///
/// # Errors
///
/// When flags contradict each other, one of a pair is missing, or a file cannot be used.
pub(super) fn signers(
    key_files: &[PathBuf],
    who: &Who,
    trust: &TrustArgs,
    (flags, environment): (Flags, &Environment),
) -> Result<Option<Known>, Error> {
    let words = words(who, flags)?;
    match (key_files.is_empty(), words) {
        (true, None) => {
            if let Some(flag) = trust.given() {
                return Err(Error::refused(&format!(
                    "`{flag}` needs `{}` or `{}`",
                    flags.key, flags.identity
                )));
            }
            Ok(None)
        }
        (false, Some(_)) => Err(Error::refused(&format!(
            "`{}` and `{}` exclude each other: a signature is by a key or by a certificate",
            flags.key, flags.identity
        ))),
        (false, None) => by_keys(key_files, trust).map(Some),
        (true, Some((identity, issuer))) => {
            let relaxed = Relaxed {
                log: trust.insecure_ignore_tlog == Some(true),
                sct: trust.insecure_ignore_sct == Some(true),
            };
            let root = Arc::new(root(trust, relaxed, environment)?);
            if !root.has_authorities() {
                return Err(Error::refused(
                    "the trusted root has no authority for certificates",
                ));
            }
            tracing::info!("trusted root: {}", root.name());
            Ok(Some(Known {
                warnings: warnings(relaxed),
                signers: Arc::new(Signers::Certificates(Certificates {
                    root,
                    whom: Whom::Fitting { identity, issuer },
                    relaxed,
                })),
            }))
        }
    }
}

/// What reports say of what is not demanded.
fn warnings(relaxed: Relaxed) -> Vec<String> {
    let mut warnings = Vec::new();
    if relaxed.log {
        warnings.push(
            "--insecure-ignore-tlog: a signature is accepted although no transparency log vouches for it"
                .to_owned(),
        );
    }
    if relaxed.sct {
        warnings.push(
            "--insecure-ignore-sct: a certificate is accepted although no log of certificates vouches for it"
                .to_owned(),
        );
    }
    warnings
}

fn by_keys(files: &[PathBuf], trust: &TrustArgs) -> Result<Known, Error> {
    let keys = keys::public(files)?;
    if let Some(flag) = trust.of_certificates() {
        return Err(Error::refused(&format!(
            "`{flag}` is about certificates, and the signatures are by keys"
        )));
    }
    let names_log = trust.trusted_root.is_some() || !trust.rekor_public_keys.is_empty();
    let wants_log = match trust.insecure_ignore_tlog {
        Some(ignored) => !ignored,
        None => names_log,
    };
    let relaxed = Relaxed {
        log: names_log && !wants_log,
        sct: false,
    };
    let signers = if wants_log {
        let root = match &trust.trusted_root {
            Some(path) => read_root(path)?,
            None if names_log => assembled(trust, None)?,
            None => built_in()?,
        };
        tracing::info!("trusted root: {}", root.name());
        let logged = LoggedKeys::new(keys, Arc::new(root));
        Signers::Logged(logged.map_err(|why| Error::refused(&why))?)
    } else {
        Signers::Keys(keys)
    };
    Ok(Known {
        signers: Arc::new(signers),
        warnings: warnings(relaxed),
    })
}

impl TrustArgs {
    /// A flag that was given and asks for something.
    fn given(&self) -> Option<&'static str> {
        let others = [
            (self.trusted_root.is_some(), "--trusted-root"),
            (!self.rekor_public_keys.is_empty(), "--rekor-public-key"),
        ];
        let other = others
            .iter()
            .find_map(|(given, flag)| given.then_some(*flag));
        other.or_else(|| self.of_certificates())
    }

    /// A flag that was given and is about certificates alone.
    fn of_certificates(&self) -> Option<&'static str> {
        [
            (self.ca_roots.is_some(), "--ca-roots"),
            (self.ca_intermediates.is_some(), "--ca-intermediates"),
            (!self.ct_log_public_keys.is_empty(), "--ct-log-public-key"),
            (
                !self.timestamp_chains.is_empty(),
                "--timestamp-certificate-chain",
            ),
        ]
        .iter()
        .find_map(|(given, flag)| given.then_some(*flag))
    }
}

/// Identity and issuer: one of each, or neither.
fn words(who: &Who, flags: Flags) -> Result<Option<(Words, Words)>, Error> {
    let identity = one(
        who.certificate_identity.as_deref(),
        who.certificate_identity_regexp.as_deref(),
        flags.identity,
    )?;
    let issuer = one(
        who.certificate_oidc_issuer.as_deref(),
        who.certificate_oidc_issuer_regexp.as_deref(),
        flags.issuer,
    )?;
    let missing = |what: &str, other: &str| {
        Error::refused(&format!("`{other}` needs `{what}` or `{what}-regexp`")).with_hint(
            "whoever can get a certificate from any issuer could sign otherwise: both are compared",
        )
    };
    match (identity, issuer) {
        (None, None) => Ok(None),
        (Some(identity), Some(issuer)) => Ok(Some((identity, issuer))),
        (Some(_), None) => Err(missing(flags.issuer, flags.identity)),
        (None, Some(_)) => Err(missing(flags.identity, flags.issuer)),
    }
}

fn one(exact: Option<&str>, regexp: Option<&str>, flag: &str) -> Result<Option<Words>, Error> {
    match (exact, regexp) {
        (Some(text), _) => Words::exact(text)
            .map(Some)
            .map_err(|why| Error::refused(&format!("`{flag}`: {why}"))),
        (None, Some(pattern)) => Words::regexp(pattern)
            .map(Some)
            .map_err(|why| Error::refused(&format!("`{flag}-regexp {pattern}`: {why}"))),
        (None, None) => Ok(None),
    }
}

/// The trusted root for certificates: a file, pieces, the pieces that variables name as cosign reads them, or
/// the one that is built in.
pub(super) fn root(
    trust: &TrustArgs,
    relaxed: Relaxed,
    environment: &Environment,
) -> Result<TrustRoot, Error> {
    if let Some(path) = &trust.trusted_root {
        return read_root(path);
    }
    let from_environment = &environment.sigstore;
    let has_pieces = trust.ca_roots.is_some() || !trust.rekor_public_keys.is_empty();
    if !has_pieces && !from_environment.is_empty() {
        return pieces(&from_environment.as_args(), relaxed).map_err(|error| {
            error.with_hint("variables that begin with SIGSTORE_ name what is trusted; `--trusted-root` names it instead")
        });
    }
    if has_pieces {
        return pieces(trust, relaxed);
    }
    built_in()
}

fn pieces(trust: &TrustArgs, relaxed: Relaxed) -> Result<TrustRoot, Error> {
    let lacks = |what: &str, instead: &str| {
        Error::refused(&format!(
            "an own authority for certificates needs {what}, or {instead}"
        ))
    };
    let Some(roots) = &trust.ca_roots else {
        return Err(lacks("`--ca-roots`", "a whole `--trusted-root`"));
    };
    if trust.rekor_public_keys.is_empty() && !relaxed.log {
        return Err(lacks("`--rekor-public-key`", "`--insecure-ignore-tlog`"));
    }
    if trust.ct_log_public_keys.is_empty() && !relaxed.sct {
        return Err(lacks("`--ct-log-public-key`", "`--insecure-ignore-sct`"));
    }
    assembled(trust, Some(roots))
}

fn assembled(trust: &TrustArgs, roots: Option<&PathBuf>) -> Result<TrustRoot, Error> {
    let mut authorities = Vec::new();
    if let Some(roots) = roots {
        let mut pem = bytes(roots)?;
        if let Some(path) = &trust.ca_intermediates {
            pem.push(b'\n');
            pem.extend(bytes(path)?);
        }
        authorities.push(pem);
    }
    let timestamps: Result<Vec<Vec<u8>>, Error> = trust
        .timestamp_chains
        .iter()
        .map(|path| bytes(path))
        .collect();
    let pieces = Pieces {
        authorities,
        anchors: Vec::new(),
        logs: keys::public(&trust.rekor_public_keys)?,
        certificate_logs: keys::public(&trust.ct_log_public_keys)?,
        timestamps: timestamps?,
    };
    let root = TrustRoot::assemble(&pieces);
    let root = root.map_err(|error| Error::usage("cannot use what is to be trusted", &error))?;
    let files = roots.into_iter().chain(&trust.rekor_public_keys);
    let files: Vec<String> = files.map(|path| format!("`{}`", path.display())).collect();
    Ok(root.named(files.join(", ")))
}

fn built_in() -> Result<TrustRoot, Error> {
    TrustRoot::built_in()
        .map_err(|error| Error::usage("cannot use the trusted root that is built in", &error))
}

fn read_root(path: &Path) -> Result<TrustRoot, Error> {
    let shown = path.display();
    let root = TrustRoot::parse(&bytes(path)?);
    let root = root
        .map_err(|error| Error::usage(&format!("cannot use the trusted root `{shown}`"), &error))?;
    Ok(root.named(format!("`{shown}`")))
}

/// What is in a file of trust, up to what makes it too long to be one.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ROOT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::usage(&format!("cannot read `{}`", path.display()), &error))?;
    Ok(bytes)
}

/// What signatures must name. By certificates it is the repository, whatever tag or digest: those who sign
/// in pipelines sign digests, and cosign names repositories alone.
pub(super) fn identity(args: &IdentityArgs, signers: &Signers) -> Result<Identity, Error> {
    let says = args.exact_repository.is_some() || args.signed_identity.is_some();
    if signers.by_certificate() && !says {
        return Ok(Identity::Rule(SignedIdentity::MatchRepository));
    }
    keys::identity(args)
}
