//! What a run learns of one registry: its challenge, its patience, whether it mounts.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use super::auth::Challenge;
use super::limit::{Gate, Kind, Permit};
use super::network::{causes, tls_error};
use super::rate::{Rate, Turns};
use super::tls::Tls;

/// After so many uploads that a registry could not resume, and none that it could, it is not asked any more. One
/// may have been lost by a restart.
const RESUMES_REFUSED_MAX: u64 = 3;

/// After so many blobs in a row that a registry lacked, it is taken to lack the next one too. Fewer, and images
/// that share most of what the registry has, as the next version of one does, would ask sources in vain.
const LACKING_BLOBS_MIN: u64 = 8;

/// How long a request waits for the first answer of a registry.
const INTRODUCTION_PATIENCE: Duration = Duration::from_secs(3);

/// How a registry is reached, found once a run: it would be made anew for each of thousands of requests.
#[derive(Debug)]
pub(super) struct Way {
    /// The root of its API.
    pub(super) base: Url,
    /// The HTTP client for requests to its own origin, once there was one.
    client: OnceLock<reqwest::Client>,
}

impl Way {
    pub(super) const fn new(base: Url) -> Self {
        Self {
            base,
            client: OnceLock::new(),
        }
    }

    /// Whether `url` has the registry's own origin.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        let Self { base, .. } = self;
        base.scheme() == url.scheme()
            && base.host() == url.host()
            && base.port_or_known_default() == url.port_or_known_default()
    }

    /// The HTTP client for its own origin, which `make` makes where there is none yet.
    pub(super) fn client<E>(
        &self,
        make: impl FnOnce() -> Result<reqwest::Client, E>,
    ) -> Result<reqwest::Client, E> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = make()?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// What is known of one registry.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) gate: Arc<Gate>,
    // A pace that was asked for, in place of one that is found.
    rate: Option<Rate>,
    turns: Turns,
    first: Arc<Semaphore>,
    has_met: AtomicBool,
    verified: OnceLock<Arc<Way>>,
    unverified: OnceLock<Arc<Way>>,
    // Whoever is on a way that is not checked can say what he likes there, and there alone.
    challenges: Mutex<HashMap<Tls, Challenge>>,
    self_mount: AtomicU8,
    heads: AtomicU8,
    resumes: AtomicBool,
    resumes_refused: AtomicU64,
    uploads: AtomicU64,
    lacking: AtomicU64,
    learns: AtomicBool,
    no_split: AtomicBool,
}

/// Whether a registry answers a mount of a blob from the repository it is already in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfMount {
    /// Nothing is known yet.
    Unknown,
    /// It said 201 once, so that 202 means "not there".
    Honoured,
    /// It refused, or said 202 for a blob that was there: only a HEAD can tell.
    Ignored,
}

/// What a registry's HEAD for a manifest is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// Nothing is known yet.
    Unknown,
    /// It named what is there once.
    Believed,
    /// It said 404 of what GET served.
    Useless,
}

impl Host {
    /// A registry of which nothing is known, to be asked at `rate` if there is one.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self {
            gate: Arc::default(),
            rate,
            turns: Turns::default(),
            first: Arc::new(Semaphore::new(1)),
            has_met: AtomicBool::new(false),
            verified: OnceLock::new(),
            unverified: OnceLock::new(),
            challenges: Mutex::default(),
            self_mount: AtomicU8::new(0),
            heads: AtomicU8::new(0),
            resumes: AtomicBool::new(false),
            resumes_refused: AtomicU64::new(0),
            uploads: AtomicU64::new(0),
            lacking: AtomicU64::new(0),
            learns: AtomicBool::new(false),
            no_split: AtomicBool::new(false),
        }
    }

    /// How it is reached over connections of this kind, once that is known.
    pub(super) const fn way(&self, tls: Tls) -> &OnceLock<Arc<Way>> {
        match tls {
            Tls::Verified => &self.verified,
            Tls::Unverified => &self.unverified,
        }
    }

    pub(super) async fn permit(&self, kind: Kind) -> Permit {
        self.gate.permit(kind).await
    }

    /// Waits until the pace that was asked for lets a request go.
    pub(super) async fn turn(&self) {
        if let Some(rate) = self.rate {
            self.turns.take(rate.interval()).await;
        }
    }

    /// The same for a request of this kind that has its place already: one that waits for its turn when the
    /// registry complains waits as those who have no place.
    pub(super) async fn turn_of(&self, kind: Kind) {
        loop {
            self.turn().await;
            let until = self.gate.closed_until(kind);
            let Some(until) = until.filter(|_| self.rate.is_some()) else {
                return;
            };
            tokio::time::sleep_until(until).await;
        }
    }

    /// Until a registry has answered once, one request at a time: the first answer brings the
    /// challenge that all others would otherwise run into at once.
    pub(super) async fn introduction(&self) -> Option<OwnedSemaphorePermit> {
        if self.has_met.load(Ordering::Acquire) {
            return None;
        }
        // Never closed, so that there is always one to wait for; a first request that gets no answer holds up
        // nobody else for long, who then runs into the challenge himself.
        let permit = Arc::clone(&self.first).acquire_owned();
        let permit = tokio::time::timeout(INTRODUCTION_PATIENCE, permit).await;
        let permit = permit.ok().and_then(Result::ok);
        permit.filter(|_| !self.has_met.load(Ordering::Acquire))
    }

    pub(super) fn met(&self) {
        self.has_met.store(true, Ordering::Release);
    }

    /// A request of this kind went well.
    pub(super) fn praise(&self, kind: Kind) {
        for kind in together(kind) {
            self.gate.praise(*kind);
        }
    }

    /// The registry complained of a request of this kind.
    pub(super) fn complain(&self, kind: Kind, pause: Duration) {
        for kind in together(kind) {
            match self.rate {
                None => self.gate.complain(*kind, pause),
                Some(_) => self.gate.pause(*kind, pause),
            }
        }
    }

    /// What waits because the registry asked for it, in a word, and until when.
    pub(super) fn pauses(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        let kinds = [
            (Kind::Manifests, "manifests"),
            (Kind::Blobs, "blobs"),
            (Kind::Lists, "lists"),
        ];
        let pause = |(kind, word)| Some((word, self.gate.closed_until(kind)?));
        kinds.into_iter().filter_map(pause)
    }

    /// What was asked for over connections of this kind.
    pub(super) fn challenge(&self, tls: Tls) -> Option<Challenge> {
        let challenges = self.challenges.lock();
        let challenges = challenges.unwrap_or_else(PoisonError::into_inner);
        challenges.get(&tls).cloned()
    }

    pub(super) fn set_challenge(&self, tls: Tls, challenge: Challenge) {
        let challenges = self.challenges.lock();
        let mut challenges = challenges.unwrap_or_else(PoisonError::into_inner);
        challenges.insert(tls, challenge);
    }

    /// Counts a finished upload, and says how many there were with it.
    pub(super) fn count_upload(&self) -> u64 {
        self.uploads.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes whether it had a blob that it was asked for, other than by a mount from where it is.
    pub(super) fn note_blob(&self, was_there: bool) {
        if was_there {
            self.lacking.store(0, Ordering::Relaxed);
        } else {
            self.lacking.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it lacked the last blobs that it was asked for.
    pub(super) fn lacks_blobs(&self) -> bool {
        self.lacking.load(Ordering::Relaxed) >= LACKING_BLOBS_MIN
    }

    /// Whether a blob may be asked for in several parts at once: not where each request has a turn of its own,
    /// nor where that brought nothing.
    pub(super) fn may_split(&self) -> bool {
        self.rate.is_none() && !self.no_split.load(Ordering::Relaxed)
    }

    /// Notes that parts at once bring nothing.
    pub(super) fn learn_no_split(&self) {
        self.no_split.store(true, Ordering::Relaxed);
    }

    /// Whether the caller is the one to learn whether it mounts from the repository itself.
    pub(super) fn begins_to_learn(&self) -> bool {
        !self.learns.swap(true, Ordering::Relaxed)
    }

    pub(super) fn self_mount(&self) -> SelfMount {
        match self.self_mount.load(Ordering::Relaxed) {
            1 => SelfMount::Honoured,
            2 => SelfMount::Ignored,
            _ => SelfMount::Unknown,
        }
    }

    /// Whether a broken upload may be resumed there, as far as is known.
    pub(super) fn may_resume(&self) -> bool {
        self.resumes.load(Ordering::Relaxed)
            || self.resumes_refused.load(Ordering::Relaxed) < RESUMES_REFUSED_MAX
    }

    /// Notes that a broken upload was resumed to its end, which is not forgotten, or could not be.
    pub(super) fn learn_resume(&self, is_done: bool) {
        if is_done {
            self.resumes.store(true, Ordering::Relaxed);
        } else {
            self.resumes_refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn heads(&self) -> Heads {
        match self.heads.load(Ordering::Relaxed) {
            1 => Heads::Believed,
            2 => Heads::Useless,
            _ => Heads::Unknown,
        }
    }

    /// Notes what its HEAD is worth; one that was no good once is not believed again.
    pub(super) fn learn_heads(&self, learned: Heads) {
        let code = match learned {
            Heads::Unknown => return,
            Heads::Believed => 1,
            Heads::Useless => 2,
        };
        self.heads.fetch_max(code, Ordering::Relaxed);
    }

    pub(super) fn learn_self_mount(&self, learned: SelfMount) {
        let code = match learned {
            SelfMount::Unknown => return,
            SelfMount::Honoured => 1,
            SelfMount::Ignored => 2,
        };
        self.self_mount.store(code, Ordering::Relaxed);
    }
}

/// The kinds that a registry counts as one with `kind`: small and large blobs are one API.
const fn together(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Blobs | Kind::Large => &[Kind::Blobs, Kind::Large],
        Kind::Manifests => &[Kind::Manifests],
        Kind::Lists => &[Kind::Lists],
    }
}

/// The scheme that a failed TLS handshake leaves: plain HTTP where the other side does not speak
/// TLS; `None` where something else is wrong (nobody there, a certificate that is not trusted).
///
/// A connection that is merely cut counts only where `cut_counts`: somebody on the way can do that.
pub(super) fn scheme_after(error: &reqwest::Error, cut_counts: bool) -> Option<&'static str> {
    let is_plain = matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)));
    let is_cut = causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| {
            matches!(
                io.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            )
        })
    });
    (is_plain || cut_counts && is_cut).then_some("http")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_turn_waits_for_a_complaint_too() {
        let host = Host::new(Rate::new(10.0));
        let began = Instant::now();
        let one = async |kind| {
            host.turn_of(kind).await;
            began.elapsed()
        };
        let complaint = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            host.complain(Kind::Lists, Duration::from_secs(10));
        };
        let lists = futures::future::join_all((0..5).map(|_| one(Kind::Lists)));
        let (lists, (), manifest) = futures::join!(lists, complaint, one(Kind::Manifests));
        let milliseconds: Vec<_> = lists.iter().map(Duration::as_millis).collect();
        assert_eq!(milliseconds, [0, 100, 200, 10_250, 10_350]);
        assert_eq!(manifest, Duration::from_millis(500));
    }
}
