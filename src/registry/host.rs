//! What a run learns of one registry: its challenge, its patience, whether it mounts.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::auth::Challenge;
use super::limit::{Limit, Permit};
use super::network::{causes, tls_error};
use super::tls::Tls;

/// Small requests at once: at 20 ms away, 64 images with 64 requests were twice as fast as 16 with
/// 8, and no slower on loopback (measured with a probe against distribution 2.8).
const SMALL_MAX: usize = 64;
/// Large transfers at once: beyond 8 nothing is gained on 2 cores, and each takes some 0.7 MB (same).
const LARGE_MAX: usize = 8;

/// What is known of one registry.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) small: Arc<Limit>,
    pub(super) large: Arc<Limit>,
    first: Arc<Limit>,
    has_met: AtomicBool,
    // Whoever is on a way that is not checked can say what he likes there, and there alone.
    challenges: Mutex<HashMap<Tls, Challenge>>,
    self_mount: AtomicU8,
    heads: AtomicU8,
    uploads: AtomicU64,
    learns: AtomicBool,
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

impl Default for Host {
    fn default() -> Self {
        Self {
            small: Arc::new(Limit::new(SMALL_MAX)),
            large: Arc::new(Limit::new(LARGE_MAX)),
            first: Arc::new(Limit::new(1)),
            has_met: AtomicBool::new(false),
            challenges: Mutex::default(),
            self_mount: AtomicU8::new(0),
            heads: AtomicU8::new(0),
            uploads: AtomicU64::new(0),
            learns: AtomicBool::new(false),
        }
    }
}

impl Host {
    pub(super) async fn small_permit(&self) -> Permit {
        self.small.permit().await
    }

    /// Until a registry has answered once, one request at a time: the first answer brings the
    /// challenge that all others would otherwise run into at once.
    pub(super) async fn introduction(&self) -> Option<Permit> {
        if self.has_met.load(Ordering::Acquire) {
            return None;
        }
        let permit = self.first.permit().await;
        (!self.has_met.load(Ordering::Acquire)).then_some(permit)
    }

    pub(super) fn met(&self) {
        self.has_met.store(true, Ordering::Release);
    }

    pub(super) fn praise(&self) {
        self.small.praise();
        self.large.praise();
    }

    pub(super) fn complain(&self, pause: Duration) {
        self.small.complain(pause);
        self.large.complain(pause);
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
