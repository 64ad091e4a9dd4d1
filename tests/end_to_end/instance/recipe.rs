//! A signature as it is made: whom the certificate names, when, over what, and what is wrong with it.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{ExtendedKeyUsagePurpose, OtherNameValue, SanType};

use super::Instance;
use super::authority::{By, Leaf, Promise, certificate_pem, comment};
use super::flaws::{Flaw, Signer};
use super::keys::{Key, base64, sha256};
use super::log::{Body, Entry};
use super::products::{Content, Signed};

/// When things are signed that are not signed now: 15 June 2025, in seconds since 1970.
const MOMENT: u64 = 1_749_945_600;
/// How many seconds a certificate lasts, as those of Fulcio do.
pub(super) const LIFETIME: u64 = 600;

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// An address of a person.
    Email(String),
    /// A job, say.
    Uri(String),
}

impl Identity {
    pub(super) fn name(&self) -> SanType {
        let text = |text: &String| text.as_str().try_into().expect("it is ASCII");
        match self {
            Self::Email(email) => SanType::Rfc822Name(text(email)),
            Self::Uri(uri) => SanType::URI(text(uri)),
        }
    }

    /// The text of it.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Email(text) | Self::Uri(text) => text,
        }
    }
}

/// Who signs, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    instance: &'a Instance,
    signer: Signer,
    key: Option<&'a Key>,
    identity: Identity,
    issuer: String,
    /// When the certificate begins, in seconds since 1970.
    begin: u64,
    flaw: Option<Flaw>,
}

impl<'a> Recipe<'a> {
    /// Signatures by the usual job.
    pub(super) fn new(instance: &'a Instance) -> Self {
        Self {
            instance,
            signer: Signer::Certificate,
            key: None,
            identity: Identity::Uri(super::JOB.to_owned()),
            issuer: super::ISSUER.to_owned(),
            begin: MOMENT,
            flaw: None,
        }
    }

    /// By somebody else.
    pub(crate) fn by(mut self, identity: Identity, issuer: &str) -> Self {
        self.identity = identity;
        issuer.clone_into(&mut self.issuer);
        self
    }

    /// By a key without a certificate.
    pub(crate) fn by_key(mut self, key: &'a Key) -> Self {
        self.signer = Signer::Key;
        self.key = Some(key);
        self
    }

    /// With a certificate that began a minute ago, and not at a time that is long past.
    pub(crate) fn now(mut self) -> Self {
        self.begin = now() - 60;
        self
    }

    /// With something wrong with it.
    pub(crate) fn flaw(mut self, flaw: impl Into<Option<Flaw>>) -> Self {
        self.flaw = flaw.into();
        self
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Makes it.
    pub(crate) fn sign(&self, content: Content) -> Signed {
        let own = Key::generate();
        let key = self.key.unwrap_or(&own);
        let begin = match self.flaw {
            Some(Flaw::LoggedInTheFuture) => now() + 24 * 60 * 60,
            _ => self.begin,
        };
        let leaf = self.leaf(begin);
        let bytes = match self.flaw {
            Some(Flaw::OtherBytes) => content.other().signed(),
            _ => content.signed(),
        };
        let signature = key.sign(&bytes);
        let (signer, certificate) = self.signer(key, &leaf);
        let entry = self.entry(&content, key, (&signature, &signer), begin + 10);
        let entries = match self.flaw {
            Some(Flaw::NoEntry) => Vec::new(),
            Some(Flaw::ManyEntries) => vec![entry; 1000],
            _ => vec![entry],
        };
        Signed {
            content,
            signature,
            hint: base64(key.public().id()),
            certificate,
            chain: self.authority().chain(leaf.by).to_vec(),
            entries,
            timestamps: if self.has(Flaw::ManyTimestamps) {
                1000
            } else {
                0
            },
        }
    }

    fn authority(&self) -> &super::authority::Authority {
        if self.has(Flaw::OtherAuthority) {
            &self.instance.other
        } else {
            &self.instance.authority
        }
    }

    /// What the log has of who signed, and the certificate.
    fn signer(&self, key: &Key, leaf: &Leaf) -> (String, Option<Vec<u8>>) {
        if self.signer == Signer::Key {
            return (key.public().pem(), None);
        }
        let promises = &self.instance.promises;
        let issued = self.authority().issue(leaf, key, &key.public(), promises);
        (certificate_pem(&issued), Some(issued))
    }

    fn leaf(&self, begin: u64) -> Leaf {
        let mut leaf = Leaf::usual(self.identity.name(), &self.issuer, begin);
        let text = self.identity.text().to_owned();
        match self.flaw {
            Some(Flaw::NoSct) => leaf.promise = Promise::Absent,
            Some(Flaw::BadSct) => leaf.promise = Promise::Bad,
            Some(Flaw::ForeignSct) => leaf.promise = Promise::Foreign,
            Some(Flaw::ExpiredIntermediate) => leaf.by = By::Expired,
            Some(Flaw::UnknownIntermediate) => leaf.by = By::Stranger,
            Some(Flaw::SelfSigned) => leaf.by = By::Itself,
            Some(Flaw::NotForCode) => leaf.purpose = ExtendedKeyUsagePurpose::EmailProtection,
            Some(Flaw::LeafIsAuthority) => leaf.is_authority = true,
            Some(Flaw::NoIssuer) => leaf.issuer = None,
            Some(Flaw::TwoNames) => {
                let other = "other@instance.test".to_owned();
                leaf.names.push(Identity::Email(other).name());
            }
            Some(Flaw::NamedInComment) => {
                leaf.names = vec![Identity::Email("other@instance.test".to_owned()).name()];
                leaf.extensions.push(comment(&text));
            }
            Some(Flaw::NamedInSubject) => {
                leaf.names = vec![Identity::Email("other@instance.test".to_owned()).name()];
                leaf.common_name = Some(text);
            }
            Some(Flaw::NamedInOtherName) => {
                // A user's name in Microsoft's directories.
                let kind = vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
                let value = OtherNameValue::Utf8String(text);
                leaf.names = vec![SanType::OtherName((kind, value))];
            }
            _ => {}
        }
        leaf
    }

    fn entry(
        &self,
        content: &Content,
        key: &Key,
        (signature, signer): (&[u8], &str),
        moment: u64,
    ) -> Entry {
        let other = content.other();
        let body = content.body(signature);
        let again = key.sign(&content.signed());
        let text = match self.flaw {
            Some(Flaw::ForeignEntry) => {
                let signature = key.sign(&other.signed());
                other.body(&signature).write(&signature, signer)
            }
            Some(Flaw::EntryOfOtherSignature) => body.write(&again, signer),
            Some(Flaw::EntryOfOtherDigest) => other.body(signature).write(signature, signer),
            Some(Flaw::EntryOfOtherSigner) => {
                let another = Key::generate();
                let key = if self.signer == Signer::Key {
                    &another
                } else {
                    key
                };
                let (signer, _) = self.signer(key, &self.leaf(self.begin));
                body.write(signature, &signer)
            }
            _ => body.write(signature, signer),
        };
        let moment = match self.flaw {
            Some(Flaw::LoggedAfterEnd) => self.begin + LIFETIME + 3600,
            Some(Flaw::LoggedBeforeBegin) => self.begin - 3600,
            _ => moment,
        };
        self.logged(text, &body, moment)
    }

    fn logged(&self, text: String, body: &Body, moment: u64) -> Entry {
        let (log, foreign) = (&self.instance.log, &self.instance.foreign);
        let foreign = foreign.between(text.clone(), body.kind(), moment);
        let mut entry = log.between(text, body.kind(), moment);
        match self.flaw {
            Some(Flaw::ForeignLog) => return foreign,
            Some(Flaw::NoSet) => entry.promise = None,
            Some(Flaw::BadSet) => entry.promise = foreign.promise,
            Some(Flaw::SetOfOtherTime) => entry.moment += 1,
            Some(Flaw::BadProof) => entry.path[0] = sha256(b"another"),
            Some(Flaw::BadCheckpoint) => {
                let (_, note) = foreign.checkpoint.split_once("\n\n").expect("it is signed");
                let (text, _) = entry.checkpoint.split_once("\n\n").expect("it is signed");
                // The hint is the right one, as whoever forges it can write what he wants.
                let forged = super::log::with_hint(note, &entry.log);
                entry.checkpoint = format!("{text}\n\n{forged}");
            }
            Some(Flaw::CheckpointOfOtherTree) => {
                entry.checkpoint = log.checkpoint(entry.size, &sha256(b"another"));
            }
            _ => {}
        }
        entry
    }
}

impl Leaf {
    /// A good one.
    pub(super) fn usual(name: SanType, issuer: &str, begin: u64) -> Self {
        Self {
            names: vec![name],
            common_name: None,
            issuer: Some(issuer.to_owned()),
            begin,
            lifetime: LIFETIME,
            purpose: ExtendedKeyUsagePurpose::CodeSigning,
            is_authority: false,
            extensions: Vec::new(),
            promise: Promise::Good,
            by: By::Intermediate,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later").as_secs()
}
