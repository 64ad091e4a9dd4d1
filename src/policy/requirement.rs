//! One requirement of a policy (containers-policy.json(5), "Policy Requirements").

use super::SignedIdentity;
use super::strict::{Fields, Value};
use crate::text::cleaned;

/// How much of an unknown type is shown, in characters.
const TYPE_CHARS_MAX: usize = 80;

/// What a scope asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    InsecureAcceptAnything,
    /// Nothing is good enough.
    Reject,
    /// A signature by a key.
    SigstoreSigned(Box<SigstoreSigned>),
    /// What is not there yet; as it is named in messages: `` `signedBy` ``.
    Unsupported(String),
}

/// A signature by somebody who may sign, that names what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreSigned {
    /// Who must have made it.
    pub by: SignedBy,
    /// The identity it must name.
    pub identity: SignedIdentity,
}

/// Who may sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SignedBy {
    /// The holder of one of these keys.
    Keys {
        /// The keys.
        keys: KeySource,
        /// The transparency logs of which one must say so; without it none is asked.
        logs: Option<KeySource>,
    },
    /// Whom a certificate names that was issued for one signature, and a log says when.
    Fulcio {
        /// Certificates of the authorities; each in it is trusted.
        authorities: KeySource,
        /// Who must have vouched for the address.
        issuer: String,
        /// The address.
        email: String,
        /// The transparency logs of which one must say so.
        logs: KeySource,
    },
    /// Whom a certificate of a site's own authority names, now.
    Pki {
        /// Certificates of the authorities; each in it is trusted.
        roots: KeySource,
        /// Certificates between those and the signers'.
        intermediates: Option<KeySource>,
        /// An address that it must have.
        email: Option<String>,
        /// A host name that it must have.
        host: Option<String>,
    },
}

impl SignedBy {
    /// Everything that must be read for it.
    fn sources(&self) -> impl Iterator<Item = &KeySource> {
        match self {
            Self::Keys { keys, logs } => [Some(keys), logs.as_ref()],
            Self::Fulcio {
                authorities, logs, ..
            } => [Some(authorities), Some(logs)],
            Self::Pki {
                roots,
                intermediates,
                ..
            } => [Some(roots), intermediates.as_ref()],
        }
        .into_iter()
        .flatten()
    }

    /// The files that must be read for it, as the policy writes their paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.sources()
            .filter_map(|source| match source {
                KeySource::Paths(paths) => Some(paths),
                KeySource::Data(_) => None,
            })
            .flatten()
            .map(String::as_str)
    }
}

/// Where public keys or certificates are; never none of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// In files, as the policy writes their paths. That one is missing is an error only where it is needed.
    Paths(Vec<String>),
    /// In the policy itself: PEM, as far as it is good.
    Data(Vec<Vec<u8>>),
}

/// Where a `sigstoreSigned` takes its trust from.
enum Trust {
    Keys(KeySource),
    Fulcio {
        authorities: KeySource,
        issuer: String,
        email: String,
    },
    Pki(SignedBy),
}

const SIGSTORE_SIGNED: [&str; 12] = [
    "type",
    "keyPath",
    "keyPaths",
    "keyData",
    "keyDatas",
    "fulcio",
    "pki",
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
    "signedIdentity",
];

impl Requirement {
    /// Its name in messages, in backquotes.
    pub fn name(&self) -> String {
        match self {
            Self::InsecureAcceptAnything => "`insecureAcceptAnything`".to_owned(),
            Self::Reject => "`reject`".to_owned(),
            Self::SigstoreSigned(_) => "`sigstoreSigned`".to_owned(),
            Self::Unsupported(name) => name.clone(),
        }
    }

    /// Reads one. A type that nobody knows is no error here, but where it applies.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        let mut fields = value.fields()?;
        let kind = match fields.take("type") {
            Some(Value::Text(kind)) if !kind.is_empty() => kind,
            None | Some(_) => return Err("Unknown policy requirement type \"\"".to_owned()),
        };
        match kind.as_str() {
            "insecureAcceptAnything" => fields.exactly(&[]).map(|()| Self::InsecureAcceptAnything),
            "reject" => fields.exactly(&[]).map(|()| Self::Reject),
            "sigstoreSigned" => sigstore_signed(fields),
            other => Ok(Self::Unsupported(format!(
                "`{}`",
                cleaned(other, TYPE_CHARS_MAX)
            ))),
        }
    }
}

fn sigstore_signed(mut fields: Fields) -> Result<Requirement, String> {
    fields.only(&SIGSTORE_SIGNED)?;
    let identity = match fields.take("signedIdentity") {
        None => SignedIdentity::MatchRepoDigestOrExact,
        Some(value) => signed_identity(value)?,
    };
    let trust = trust(&mut fields)?;
    // One that is there but empty asks for nothing elsewhere; whoever wrote it wanted it.
    let asked = SIGSTORE_SIGNED
        .iter()
        .find(|key| key.starts_with("rekor") && fields.has(key));
    let logs = logs(&mut fields)?;
    let by = match (trust, logs) {
        (Trust::Fulcio { .. }, None) => {
            return Err("At least one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas must be specified if fulcio is used".to_owned());
        }
        (Trust::Pki(_), Some(_)) => {
            return Err("rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas are not supported for pki".to_owned());
        }
        (Trust::Keys(keys), logs) => SignedBy::Keys { keys, logs },
        (
            Trust::Fulcio {
                authorities,
                issuer,
                email,
            },
            Some(logs),
        ) => SignedBy::Fulcio {
            authorities,
            issuer,
            email,
            logs,
        },
        (Trust::Pki(pki), None) => pki,
    };
    let is_empty = match &by {
        SignedBy::Keys { logs: None, .. } | SignedBy::Pki { .. } => asked,
        SignedBy::Keys { logs: Some(_), .. } | SignedBy::Fulcio { .. } => None,
    };
    Ok(match is_empty {
        Some(key) => Requirement::Unsupported(format!("`sigstoreSigned` with an empty `{key}`")),
        None => Requirement::SigstoreSigned(Box::new(SigstoreSigned { by, identity })),
    })
}

/// The one source of trust that must be there.
fn trust(fields: &mut Fields) -> Result<Trust, String> {
    let mut found = Vec::new();
    let path = fields.text("keyPath")?;
    if !path.is_empty() {
        found.push(Trust::Keys(KeySource::Paths(vec![path])));
    }
    if let Some(paths) = fields.texts("keyPaths", "keyPaths")? {
        found.push(Trust::Keys(KeySource::Paths(paths)));
    }
    if let Some(data) = fields.data("keyData")? {
        found.push(Trust::Keys(KeySource::Data(vec![data])));
    }
    if let Some(datas) = fields.datas("keyDatas", "keyDatas")? {
        found.push(Trust::Keys(KeySource::Data(datas)));
    }
    if let Some(value) = fields.take("fulcio") {
        found.push(fulcio(value)?);
    }
    if let Some(value) = fields.take("pki") {
        found.push(Trust::Pki(pki(value)?));
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) | (None, _) => Err("exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified".to_owned()),
    }
}

/// The one source of log keys, if there is one.
fn logs(fields: &mut Fields) -> Result<Option<KeySource>, String> {
    let path = fields.text("rekorPublicKeyPath")?;
    let path = (!path.is_empty()).then(|| KeySource::Paths(vec![path]));
    // Written so by containers/image.
    let paths = fields.texts("rekorPublicKeyPaths", "rekorPublickeyPaths")?;
    let data = fields.data("rekorPublicKeyData")?;
    let datas = fields.datas("rekorPublicKeyDatas", "rekorPublickeyDatas")?;
    let found = [
        path,
        paths.map(KeySource::Paths),
        data.map(|data| KeySource::Data(vec![data])),
        datas.map(KeySource::Data),
    ];
    let mut found = found.into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err("at most one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas can be used simultaneously".to_owned()),
        (one, _) => Ok(one),
    }
}

/// Reads a `fulcio`.
fn fulcio(value: Value) -> Result<Trust, String> {
    let mut fields = value.fields()?;
    fields.only(&["caPath", "caData", "oidcIssuer", "subjectEmail"])?;
    let authorities =
        one_of(&mut fields, "caPath", "caData")?.ok_or_else(|| needed("caPath", "caData"))?;
    let mut text = |key: &str| match fields.text(key)? {
        text if text.is_empty() => Err(format!("{key} not specified")),
        text => Ok(text),
    };
    Ok(Trust::Fulcio {
        authorities,
        issuer: text("oidcIssuer")?,
        email: text("subjectEmail")?,
    })
}

/// Reads a `pki`.
fn pki(value: Value) -> Result<SignedBy, String> {
    let mut fields = value.fields()?;
    fields.only(&[
        "caRootsPath",
        "caRootsData",
        "caIntermediatesPath",
        "caIntermediatesData",
        "subjectEmail",
        "subjectHostname",
    ])?;
    let roots = one_of(&mut fields, "caRootsPath", "caRootsData")?
        .ok_or_else(|| needed("caRootsPath", "caRootsData"))?;
    let intermediates = one_of(&mut fields, "caIntermediatesPath", "caIntermediatesData")?;
    let (email, host) = (
        fields.text("subjectEmail")?,
        fields.text("subjectHostname")?,
    );
    if email.is_empty() && host.is_empty() {
        return Err("At least one of subjectEmail, subjectHostname must be specified".to_owned());
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(SignedBy::Pki {
        roots,
        intermediates,
        email: some(email),
        host: some(host),
    })
}

/// A path or data; both are refused.
fn one_of(fields: &mut Fields, path: &str, data: &str) -> Result<Option<KeySource>, String> {
    let (file, bytes) = (fields.text(path)?, fields.data(data)?);
    match (file.is_empty(), bytes) {
        (false, Some(_)) => Err(format!("{path} and {data} cannot be used simultaneously")),
        (false, None) => Ok(Some(KeySource::Paths(vec![file]))),
        (true, bytes) => Ok(bytes.map(|bytes| KeySource::Data(vec![bytes]))),
    }
}

fn needed(path: &str, data: &str) -> String {
    format!("At least one of {path} and {data} must be specified")
}

/// Reads a `signedIdentity`.
fn signed_identity(value: Value) -> Result<SignedIdentity, String> {
    let unknown = |kind: &str| {
        let kind = cleaned(kind, TYPE_CHARS_MAX);
        format!("Unknown policy reference match type \"{kind}\"")
    };
    if matches!(value, Value::Null) {
        return Err(unknown(""));
    }
    let mut fields = value.fields()?;
    let kind = fields.text("type")?;
    let alone = |rule| fields.exactly(&[]).map(|()| rule);
    match kind.as_str() {
        "matchExact" => alone(SignedIdentity::MatchExact),
        "matchRepoDigestOrExact" => alone(SignedIdentity::MatchRepoDigestOrExact),
        "matchRepository" => alone(SignedIdentity::MatchRepository),
        "exactReference" => {
            fields.exactly(&["dockerReference"])?;
            let text = fields.text("dockerReference")?;
            SignedIdentity::exact_reference(&text).map_err(|error| error.to_string())
        }
        "exactRepository" => {
            fields.exactly(&["dockerRepository"])?;
            let text = fields.text("dockerRepository")?;
            SignedIdentity::exact_repository(&text).map_err(|error| error.to_string())
        }
        "remapIdentity" => {
            fields.exactly(&["prefix", "signedPrefix"])?;
            let (prefix, signed) = (fields.text("prefix")?, fields.text("signedPrefix")?);
            SignedIdentity::remap_identity(&prefix, &signed).map_err(|error| error.to_string())
        }
        other => Err(unknown(other)),
    }
}

#[cfg(test)]
#[path = "requirement_tests.rs"]
mod tests;
