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
    /// What is not there yet; as it is named in messages: `` `sigstoreSigned` with `fulcio` ``.
    Unsupported(String),
}

/// A signature by any of some keys, that names what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreSigned {
    /// One of these must have made it.
    pub keys: KeySource,
    /// The identity it must name.
    pub identity: SignedIdentity,
}

/// Where public keys are; never none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In files, as the policy writes their paths. That one is missing is an error only where it is needed.
    Paths(Vec<String>),
    /// In the policy itself: PEM, as far as it is good.
    Data(Vec<Vec<u8>>),
}

/// Where a `sigstoreSigned` takes its trust from.
enum Trust {
    Keys(KeySource),
    Unsupported(&'static str),
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
    let what = match (trust, asked) {
        (Trust::Unsupported("fulcio"), _) if logs == 0 => {
            return Err("At least one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas must be specified if fulcio is used".to_owned());
        }
        (Trust::Unsupported("pki"), _) if logs > 0 => {
            return Err("rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas are not supported for pki".to_owned());
        }
        (Trust::Keys(keys), None) => {
            let signed = SigstoreSigned { keys, identity };
            return Ok(Requirement::SigstoreSigned(Box::new(signed)));
        }
        (Trust::Keys(_), Some(key)) => key,
        (Trust::Unsupported(key), _) => key,
    };
    Ok(Requirement::Unsupported(format!(
        "`sigstoreSigned` with `{what}`"
    )))
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
        fulcio(value)?;
        found.push(Trust::Unsupported("fulcio"));
    }
    if let Some(value) = fields.take("pki") {
        pki(value)?;
        found.push(Trust::Unsupported("pki"));
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) | (None, _) => Err("exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified".to_owned()),
    }
}

/// How many sources of log keys there are, one at most.
fn logs(fields: &mut Fields) -> Result<usize, String> {
    let found = [
        !fields.text("rekorPublicKeyPath")?.is_empty(),
        // Written so by containers/image.
        fields
            .texts("rekorPublicKeyPaths", "rekorPublickeyPaths")?
            .is_some(),
        fields.data("rekorPublicKeyData")?.is_some(),
        fields
            .datas("rekorPublicKeyDatas", "rekorPublickeyDatas")?
            .is_some(),
    ];
    match found.iter().filter(|there| **there).count() {
        2.. => Err("at most one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas can be used simultaneously".to_owned()),
        few => Ok(few),
    }
}

/// Refuses a `fulcio` that containers/image would refuse.
fn fulcio(value: Value) -> Result<(), String> {
    let mut fields = value.fields()?;
    fields.only(&["caPath", "caData", "oidcIssuer", "subjectEmail"])?;
    one_of(&mut fields, "caPath", "caData", true)?;
    for key in ["oidcIssuer", "subjectEmail"] {
        if fields.text(key)?.is_empty() {
            return Err(format!("{key} not specified"));
        }
    }
    Ok(())
}

/// Refuses a `pki` that containers/image would refuse.
fn pki(value: Value) -> Result<(), String> {
    let mut fields = value.fields()?;
    fields.only(&[
        "caRootsPath",
        "caRootsData",
        "caIntermediatesPath",
        "caIntermediatesData",
        "subjectEmail",
        "subjectHostname",
    ])?;
    one_of(&mut fields, "caRootsPath", "caRootsData", true)?;
    one_of(
        &mut fields,
        "caIntermediatesPath",
        "caIntermediatesData",
        false,
    )?;
    let (email, host) = (
        fields.text("subjectEmail")?,
        fields.text("subjectHostname")?,
    );
    if email.is_empty() && host.is_empty() {
        return Err("At least one of subjectEmail, subjectHostname must be specified".to_owned());
    }
    Ok(())
}

/// Refuses a path together with data, and, where `needed`, the lack of both.
fn one_of(fields: &mut Fields, path: &str, data: &str, needed: bool) -> Result<(), String> {
    match (fields.text(path)?.is_empty(), fields.data(data)?.is_some()) {
        (false, true) => Err(format!("{path} and {data} cannot be used simultaneously")),
        (true, false) if needed => Err(format!(
            "At least one of {path} and {data} must be specified"
        )),
        (true, _) | (false, false) => Ok(()),
    }
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
