//! Who may have signed, from flags and files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::signature::TRUSTED_ROOT_BYTES_MAX;
use crate::list::{self, Line, Verify};
use crate::plan::Plan;
use crate::runner::Identity;
use crate::sigstore::{Certificates, LoggedKeys, Pieces, Relaxed, Signers, TrustRoot, Whom, Words};

use super::Environment;
use super::args::{IdentityArgs, TrustArgs, Who};
use super::error::Error;
use super::keys;

/// Who may have signed, and what every report says of how they are known.
#[derive(Debug)]
pub(super) struct Known {
    /// Where the line does not say it.
    pub(super) signers: Option<Arc<Signers>>,
    /// Where it does.
    pub(super) own: HashMap<Verify, Arc<Signers>>,
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
    /// Whether they name who is trusted.
    pub(super) const fn names_root(&self) -> bool {
        !self.is_empty()
    }

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

/// What the command line says of who may have signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) keys: &'a [PathBuf],
    pub(super) who: &'a Who,
    pub(super) trust: &'a TrustArgs,
    /// What certificates must say beside that, by OID.
    pub(super) claims: &'a [(&'static str, String)],
    pub(super) flags: Flags,
}

/// Who may have signed the images of `plan`, as the command line and the lines say it; `None` where neither
/// says anything.
///
/// # Errors
///
/// When flags contradict each other, one of a pair is missing, or a file cannot be used.
pub(super) fn known(
    said: Said<'_>,
    plan: &Plan,
    environment: &Environment,
) -> Result<Option<Known>, Error> {
    let Said {
        keys,
        who,
        trust,
        claims,
        flags,
    } = said;
    let words = words(who, flags)?;
    let by_lines = by_lines(plan);
    if words.is_some() && !keys.is_empty() {
        return Err(Error::refused(&format!(
            "`{}` and `{}` exclude each other: a signature is by a key or by a certificate",
            flags.key, flags.identity
        )));
    }
    if words.is_none() && !claims.is_empty() {
        return Err(Error::refused(
            "`--certificate-github-workflow-…` needs `--certificate-identity`",
        ));
    }
    if words.is_none() && keys.is_empty() && by_lines.is_empty() {
        return match trust.given() {
            Some(flag) => Err(needs(flag, flags)),
            None => Ok(None),
        };
    }
    let mut reading = Reading {
        trust,
        environment,
        root: None,
        relaxed: Relaxed::default(),
    };
    let is_certificate = |verify: &&Verify| matches!(verify, Verify::Certificate(_));
    let has_certificates = words.is_some() || by_lines.keys().any(|verify| is_certificate(&verify));
    if let Some(flag) = trust.of_certificates().filter(|_| !has_certificates) {
        return Err(Error::refused(&format!(
            "`{flag}` is about certificates, and the signatures are by keys"
        )));
    }
    let signers = match words {
        Some((identity, issuer)) => Some(reading.certificates(Whom::Fitting {
            identity,
            issuer,
            claims: claims.to_vec(),
        })?),
        None if keys.is_empty() => None,
        None => Some(reading.keys(keys)?),
    };
    let mut own = HashMap::new();
    for (verify, line) in by_lines {
        let signers = reading
            .line(&verify)
            .map_err(|error| error.in_line(&line.to_string()))?;
        own.insert(verify, Arc::new(signers));
    }
    Ok(Some(Known {
        signers: signers.map(Arc::new),
        own,
        warnings: warnings(reading.relaxed),
    }))
}

/// The refusal of `flag`, which says how signatures are judged, where nobody says whose.
fn needs(flag: &str, flags: Flags) -> Error {
    let Flags { key, identity, .. } = flags;
    let error = Error::refused(&format!("`{flag}` needs `{key}` or `{identity}`"));
    if flag == "--trusted-root" && key == VERIFY.key {
        return error.with_hint(
            "`--sign-trusted-root` is by what own signatures are verified before they are pushed",
        );
    }
    error
}

/// Who must have signed by the lines of a plan, each with the first line that says so.
fn by_lines(plan: &Plan) -> BTreeMap<Verify, &Line> {
    let mut found = BTreeMap::new();
    for job in plan.distinct() {
        match &job.settings.verify {
            Some(verify @ (Verify::Key(_) | Verify::Certificate(_))) => {
                found.entry(verify.clone()).or_insert(&job.line);
            }
            Some(Verify::None) | None => {}
        }
    }
    found
}

/// The reading of files that say who may have signed.
struct Reading<'a> {
    trust: &'a TrustArgs,
    environment: &'a Environment,
    root: Option<Arc<TrustRoot>>,
    /// What was not demanded of anybody.
    relaxed: Relaxed,
}

impl Reading<'_> {
    fn line(&mut self, verify: &Verify) -> Result<Signers, Error> {
        match verify {
            Verify::Key(path) => self.keys(&[PathBuf::from(path)]),
            Verify::Certificate(words) => {
                let read = |words: &list::Words| match words {
                    list::Words::Exact(text) => Words::exact(text),
                    list::Words::Regexp(pattern) => Words::regexp(pattern),
                };
                let refused = |why| Error::refused(&format!("whom a certificate must name: {why}"));
                self.certificates(Whom::Fitting {
                    identity: read(&words.identity).map_err(refused)?,
                    issuer: read(&words.issuer).map_err(refused)?,
                    claims: Vec::new(),
                })
            }
            Verify::None => Err(Error::refused("nobody is named")),
        }
    }

    fn certificates(&mut self, whom: Whom) -> Result<Signers, Error> {
        let relaxed = Relaxed {
            log: self.trust.insecure_ignore_tlog == Some(true),
            sct: self.trust.insecure_ignore_sct == Some(true),
        };
        let root = match &self.root {
            Some(root) => Arc::clone(root),
            None => Arc::new(root(self.trust, relaxed, self.environment)?),
        };
        if !root.has_authorities() {
            return Err(Error::refused(
                "the trusted root has no authority for certificates",
            ));
        }
        tracing::info!("trusted root: {}", root.name());
        self.root = Some(Arc::clone(&root));
        self.relaxed.log |= relaxed.log;
        self.relaxed.sct |= relaxed.sct;
        Ok(Signers::Certificates(Certificates {
            root,
            whom,
            relaxed,
        }))
    }

    /// Keys, with a log's word where one is named and not ignored.
    fn keys(&mut self, files: &[PathBuf]) -> Result<Signers, Error> {
        let keys = keys::public(files)?;
        let trust = self.trust;
        let names_log = trust.trusted_root.is_some() || !trust.rekor_public_keys.is_empty();
        let wants_log = match trust.insecure_ignore_tlog {
            Some(ignored) => !ignored,
            None => names_log,
        };
        if !wants_log {
            self.relaxed.log |= names_log;
            return Ok(Signers::Keys(keys));
        }
        let root = match &trust.trusted_root {
            Some(path) => read_root(path)?,
            None if names_log => assembled(trust, None)?,
            None => built_in()?,
        };
        tracing::info!("trusted root: {}", root.name());
        let logged = LoggedKeys::new(keys, Arc::new(root));
        logged
            .map(Signers::Logged)
            .map_err(|why| Error::refused(&why))
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

impl TrustArgs {
    /// A flag that was given and asks for something.
    fn given(&self) -> Option<&'static str> {
        let others = [
            (self.trusted_root.is_some(), "--trusted-root"),
            (!self.rekor_public_keys.is_empty(), "--rekor-public-key"),
            (
                self.insecure_ignore_tlog.is_some(),
                "--insecure-ignore-tlog",
            ),
            (self.insecure_ignore_sct.is_some(), "--insecure-ignore-sct"),
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
    let bytes = bytes(path)?;
    let root = TrustRoot::parse(&bytes).map_err(|error| {
        let error = Error::usage(&format!("cannot use the trusted root `{shown}`"), &error);
        if bytes.trim_ascii_start().starts_with(b"{") {
            return error;
        }
        error.with_hint(
            "a trusted root is JSON, `trusted_root.json`; certificates and keys in PEM are for `--ca-roots`, \
             `--rekor-public-key` and `--ct-log-public-key`",
        )
    })?;
    Ok(root.named(format!("`{shown}`")))
}

/// What is in a file of trust, up to what makes it too long to be one.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(TRUSTED_ROOT_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| Error::usage(&format!("cannot read `{}`", path.display()), &error))?;
    Ok(bytes)
}

/// What signatures must name, where it is said.
pub(super) fn identity(args: &IdentityArgs) -> Result<Option<Identity>, Error> {
    if args.exact_repository.is_none() && args.signed_identity.is_none() {
        return Ok(None);
    }
    keys::identity(args).map(Some)
}
