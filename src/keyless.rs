//! Signing without a key of one's own: certificates from Fulcio, entries in Rekor, timestamps.
//!
//! A [`Session`] is shared by all jobs of a run. It makes a key, proves with an identity token whom it is of,
//! and gets a certificate of some minutes for it, which serves as many signatures as fit into that time; the
//! next one is taken before it ends. Jobs that need one at the same time wait for one request. Each signature is
//! put into the log (and stamped by clocks, where some are given), and what came back is verified by the
//! trusted root, as anybody will verify it, before it is handed out: nothing else can be pushed.
//!
//! What is made has cosign's shape: annotations for the tag format and for referrers (cosign's signature
//! specification), bundles v0.3 (`sigstore_bundle.proto`). The token is sent to the certificate authority and to
//! nobody else, and is in no error. That whoever signs so writes a name into public logs for good is for the
//! caller to ask for first.

mod certificate;
mod clock;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod log;
mod places;
mod product;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::{
    DsseEnvelope, DsseSignature, KeyId, PayloadBytes, Rfc3161Timestamp, SignatureBytes,
    TransparencyLogEntry, pae,
};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::registry::Services;
use crate::sigstore::{
    Bundle, Certificates, IN_TOTO, Material, Relaxed, Signers, TrustRoot, Whom, Words,
};
use crate::text::cleaned;

pub use certificate::Signatory;
pub use error::{Error, Service};
pub use places::{Places, PlacesError, authority_url, service_url};
pub use token::{IdentityToken, TokenError, TokenSource};

use certificate::Certified;
use log::Logged;

/// What is sent and wanted of both.
const JSON: &str = "application/json";
/// How often a signature is made anew because its certificate had ended when the log took it.
const LATE_MAX: u32 = 3;
/// After so many signatures in a row without an answer from the log or a clock, that is taken for the answer for
/// a while; each of them has tried as often as a request is tried.
const TROUBLE_ROW: u32 = 3;
/// How long a failed request for a certificate answers for those that come after it: all jobs of a list would
/// otherwise try for as long as the first one did.
const FAILURE_KEPT: Duration = Duration::from_secs(10);

fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Signs without a key of one's own.
#[derive(Debug)]
pub struct Session {
    services: Services,
    places: Places,
    source: TokenSource,
    root: Arc<TrustRoot>,
    state: Mutex<State>,
    /// How many signatures in a row the log or a clock gave no answer for, and the last of them.
    trouble: std::sync::Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    row: u32,
    error: Error,
    at: Instant,
}

/// The certificate in use, and the last one that was refused.
#[derive(Debug, Default)]
struct State {
    /// Whom the first certificate named; all of them name the same.
    signatory: Option<Signatory>,
    current: Option<Arc<Certified>>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    token: IdentityToken,
    error: Error,
    /// Until when it answers for others; for as long as the token is the same where nothing is said.
    until: Option<Instant>,
}

impl Failed {
    fn holds_for(&self, token: &IdentityToken) -> bool {
        self.token.is(token) && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Session {
    /// Signs at `places` with tokens from `source`, and believes what `root` proves. Asks nobody.
    pub fn new(
        services: Services,
        places: Places,
        source: TokenSource,
        root: Arc<TrustRoot>,
    ) -> Self {
        Self {
            services,
            places,
            source,
            root,
            state: Mutex::default(),
            trouble: std::sync::Mutex::default(),
        }
    }

    /// Those whose signatures are `signatory`'s: what its certificates prove by the trusted root, with the word
    /// of both logs.
    ///
    /// # Errors
    ///
    /// When it has no name, which no certificate that was taken has.
    pub fn signers(&self, signatory: &Signatory) -> Result<Signers, Error> {
        let words = |text: &str| Words::exact(text).map_err(|why| Error::Unproven(why.to_string()));
        Ok(Signers::Certificates(Certificates {
            root: Arc::clone(&self.root),
            whom: Whom::Fitting {
                identity: words(&signatory.identity)?,
                issuer: words(&signatory.issuer)?,
                claims: Vec::new(),
            },
            relaxed: Relaxed::default(),
        }))
    }

    /// In whose name it signs: takes a certificate where there is none yet.
    ///
    /// # Errors
    ///
    /// When there is none to be had.
    pub async fn signatory(&self) -> Result<Signatory, Error> {
        {
            let state = self.state.lock().await;
            if let Some(signatory) = &state.signatory {
                return Ok(signatory.clone());
            }
        }
        Ok(self.certified().await?.signatory.clone())
    }

    /// Signs `payload` in the tag format; gives the annotations of the layer that has it.
    ///
    /// # Errors
    ///
    /// When a service does not take part, or what came back does not verify.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left half done; the log may have an entry that nobody points to.
    pub async fn sign_payload(&self, payload: &[u8]) -> Result<BTreeMap<String, String>, Error> {
        self.spared()?;
        let signed = self.payload(payload).await;
        self.heed(signed.as_ref().err());
        signed
    }

    async fn payload(&self, payload: &[u8]) -> Result<BTreeMap<String, String>, Error> {
        let Some(rekor) = &self.places.rekor else {
            return Err(Error::Unsupported(
                "the tag format and referrers need a log with Rekor's first API, and the signing config names \
                 none; bundles (`--signature-format bundle`) do without",
            ));
        };
        for _ in 0..LATE_MAX {
            let certified = self.certified().await?;
            let signature = sign(&certified, payload)?;
            let logged = Logged::Bytes(payload, &signature);
            let entry = log::entry(&self.services, rekor, logged, &certified).await?;
            // One is what an annotation has room for.
            let clocks = self.places.authorities_of_payloads.iter().take(1);
            let stamps = self.stamps(clocks, &signature).await?;
            if is_late(&certified, &entry, &stamps) {
                self.forget(&certified).await;
                continue;
            }
            let stamp = stamps.first();
            let annotations = product::annotations(&certified, &signature, &entry, stamp)?;
            self.signers(&certified.signatory)?
                .payload(
                    (payload, &signature.to_base64()),
                    &Material::of(&annotations),
                )
                .map_err(|refusal| Error::Unproven(refusal.to_string()))?;
            return Ok(annotations);
        }
        Err(Error::Late { tries: LATE_MAX })
    }

    /// Signs `statement` in a bundle; gives its bytes.
    ///
    /// # Errors
    ///
    /// As [`Session::sign_payload`].
    ///
    /// # Cancel safety
    ///
    /// As [`Session::sign_payload`].
    pub async fn sign_bundle(&self, statement: &[u8]) -> Result<Vec<u8>, Error> {
        self.spared()?;
        let signed = self.bundle(statement).await;
        self.heed(signed.as_ref().err());
        signed
    }

    async fn bundle(&self, statement: &[u8]) -> Result<Vec<u8>, Error> {
        for _ in 0..LATE_MAX {
            let certified = self.certified().await?;
            let signature = sign(&certified, &pae(IN_TOTO, statement))?;
            let payload = PayloadBytes::from_bytes(statement);
            let envelope = DsseSignature::new(signature.clone(), KeyId::default());
            let envelope = DsseEnvelope::new(IN_TOTO, payload, envelope);
            let logged = Logged::Envelope(&envelope);
            let entry = match (&self.places.rekor_tiles, &self.places.rekor) {
                (Some(tiles), _) => {
                    log::entry_of_tiles(&self.services, tiles, logged, &certified).await?
                }
                (None, Some(rekor)) => {
                    log::entry(&self.services, rekor, logged, &certified).await?
                }
                (None, None) => return Err(Error::Unsupported("there is no log")),
            };
            let clocks = self.places.authorities.iter();
            let stamps = self.stamps(clocks, &signature).await?;
            if is_late(&certified, &entry, &stamps) {
                self.forget(&certified).await;
                continue;
            }
            let bytes = product::bundle(&certified, envelope, entry, stamps)?;
            let signers = self.signers(&certified.signatory)?;
            Bundle::parse(&bytes)
                .and_then(|bundle| signers.statement(&bundle))
                .map_err(|refusal| Error::Unproven(refusal.to_string()))?;
            return Ok(bytes);
        }
        Err(Error::Late { tries: LATE_MAX })
    }

    async fn stamps(
        &self,
        clocks: impl Iterator<Item = &Url>,
        signature: &SignatureBytes,
    ) -> Result<Vec<Rfc3161Timestamp>, Error> {
        let mut stamps = Vec::new();
        for clock in clocks {
            let token = clock::stamp(&self.services, clock, signature).await?;
            stamps.push(Rfc3161Timestamp::new(token));
        }
        Ok(stamps)
    }

    /// Spares a log or a clock that does not answer, and whoever waits for it.
    fn spared(&self) -> Result<(), Error> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &*trouble {
            Some(trouble) if trouble.row >= TROUBLE_ROW && trouble.at.elapsed() < FAILURE_KEPT => {
                Err(trouble.error.clone())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes in how a signature ended.
    fn heed(&self, error: Option<&Error>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = error
            .filter(|error| error.is_silence())
            .map(|error| Trouble {
                row: trouble.as_ref().map_or(0, |trouble| trouble.row) + 1,
                error: error.clone(),
                at: Instant::now(),
            });
    }

    /// A certificate with time left: the one in use, or a new one. Whoever comes meanwhile waits for the same.
    async fn certified(&self) -> Result<Arc<Certified>, Error> {
        let mut state = self.state.lock().await;
        if let Some(certified) = &state.current
            && certified.is_fresh()
        {
            return Ok(Arc::clone(certified));
        }
        let token = self.source.read().map_err(Error::Token)?;
        if let Some(failed) = &state.failed
            && failed.holds_for(&token)
        {
            return Err(failed.error.clone());
        }
        if let Some(at) = token.expired(Timestamp::now()) {
            return Err(Error::Ended { at });
        }
        let asked = certificate::certified(&self.services, &self.places.fulcio, &token).await;
        let asked = asked.and_then(|certified| {
            check_name(&certified.signatory, &token, state.signatory.as_ref())?;
            Ok(certified)
        });
        match asked {
            Ok(certified) => {
                let certified = Arc::new(certified);
                state.signatory = Some(certified.signatory.clone());
                state.current = Some(Arc::clone(&certified));
                state.failed = None;
                Ok(certified)
            }
            Err(error) => {
                let until = Instant::now() + FAILURE_KEPT;
                state.failed = Some(Failed {
                    token,
                    error: error.clone(),
                    until: (!error.is_of_token()).then_some(until),
                });
                Err(error)
            }
        }
    }

    /// Does not use `certified` any more.
    async fn forget(&self, certified: &Arc<Certified>) {
        let mut state = self.state.lock().await;
        let current = state.current.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(current, certified)) {
            state.current = None;
        }
    }

    /// Why the next line is not worth a try: the token has ended or was refused, and there is no other yet.
    pub async fn ended(&self) -> Option<Error> {
        let state = self.state.lock().await;
        if state
            .current
            .as_ref()
            .is_some_and(|current| current.is_fresh())
        {
            return None;
        }
        let token = match self.source.read() {
            Ok(token) => token,
            Err(error) => return Some(Error::Token(error)),
        };
        if let Some(failed) = &state.failed
            && failed.until.is_none()
            && failed.holds_for(&token)
        {
            return Some(failed.error.clone());
        }
        token
            .expired(Timestamp::now())
            .map(|at| Error::Ended { at })
    }
}

/// Checks that a certificate names whom it should: the address in the token, and the same as those before.
fn check_name(
    named: &Signatory,
    token: &IdentityToken,
    before: Option<&Signatory>,
) -> Result<(), Error> {
    if token.may_be_named(&named.identity) && before.is_none_or(|before| before == named) {
        return Ok(());
    }
    let wanted = before.map_or_else(|| token.identity(), |before| before.identity.clone());
    let (named, wanted) = (cleaned(&named.identity, 200), cleaned(&wanted, 200));
    Err(Error::Unproven(format!(
        "the certificate names `{named}`, and `{wanted}` signs"
    )))
}

fn sign(certified: &Certified, message: &[u8]) -> Result<SignatureBytes, Error> {
    let signed = certified.key.sign(message);
    signed.map_err(|error| Error::Key(error.to_string()))
}

/// Whether the certificate had ended when the log took the signature, or when a clock stamped it: that is now, by
/// this machine's own, as it is where the log gives no time.
fn is_late(
    certified: &Certified,
    entry: &TransparencyLogEntry,
    stamps: &[Rfc3161Timestamp],
) -> bool {
    let logged = entry.integrated_time;
    let is_stamped = !stamps.is_empty() || logged.is_none();
    let last = is_stamped.then(Timestamp::now).max(logged);
    last.is_some_and(|last| last > certified.ends)
}
