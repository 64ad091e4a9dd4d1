//! What a client is made with.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::oci::{Namespaced, Registry, Repository};

use super::auth::Side;
use super::call::RETRY_AFTER_MAX;
use super::credential::{Credential, Credentials};
use super::proxy::Proxies;
use super::rate::Rate;
use super::tls::{Certificates, Tls};

/// When a request is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How often at most, the first time included.
    pub attempts: u32,
    /// The pause after the first failure; doubles each time, with jitter.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// Five times within some 8 s, as regclient and oras do it.
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(250),
            pause_max: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// The pause after attempt `attempt`, where the registry asked for `wait`: never less than our own,
    /// for a registry that asks for none is in trouble all the same.
    pub fn pause(&self, attempt: u32, wait: Option<Duration>) -> Duration {
        let own = self.pause_after(attempt);
        wait.map_or(own, |wait| wait.min(RETRY_AFTER_MAX).max(own))
    }

    /// The pause after attempt `attempt` (1 is the first): between half and all of its step.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        let doubled = self
            .pause
            .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled
            .min(self.pause_max)
            .mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// How the registries of one side of a run are spoken to.
#[derive(Debug, Clone, Default)]
pub struct Party {
    /// Who gets which credential.
    pub credentials: Credentials,
    /// Whether certificates are checked.
    pub tls: Tls,
    /// Where it is otherwise.
    pub exceptions: Namespaced<Tls>,
}

impl Party {
    /// Whether the registry of `repository` has to prove who it is.
    pub(super) fn tls_of(&self, repository: &Repository) -> Tls {
        self.exceptions.get(repository).copied().unwrap_or(self.tls)
    }
}

/// What a [`Client`](super::Client) is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How sources are spoken to.
    pub source: Party,
    /// How destinations are spoken to, their reads included.
    pub destination: Party,
    /// Certificates of both sides.
    pub certificates: Certificates,
    /// The proxies of the way there.
    pub proxies: Proxies,
    /// How long nothing may happen before a request or transfer has failed.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: Retry,
    /// Registries that are asked at a fixed pace, in place of limits that adapt.
    pub rates: HashMap<Registry, Rate>,
    /// How many bytes of blobs are read in a second, all transfers together; no bound without it.
    pub bandwidth: Option<NonZeroU64>,
}

impl Settings {
    /// How one side is spoken to.
    pub(super) const fn party(&self, side: Side) -> &Party {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Gives `credential` to all of `registry`, on both sides.
    pub fn insert(&mut self, registry: &Registry, credential: &Credential) {
        for party in [&mut self.source, &mut self.destination] {
            let credential = credential.clone();
            party.credentials.insert(registry.clone(), credential);
        }
    }

    /// Checks certificates, or does not, on both sides.
    pub const fn set_tls(&mut self, tls: Tls) {
        self.source.tls = tls;
        self.destination.tls = tls;
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: Party::default(),
            destination: Party::default(),
            certificates: Certificates::default(),
            proxies: Proxies::default(),
            stall_timeout: Duration::from_mins(1),
            retry: Retry::default(),
            rates: HashMap::new(),
            bandwidth: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds() {
        let retry = Retry::default();
        for attempt in 1..100 {
            let pause = retry.pause_after(attempt);
            assert!(retry.pause(attempt, Some(Duration::ZERO)) >= retry.pause / 2);
            assert!(
                pause <= retry.pause_max && pause >= retry.pause / 2,
                "{attempt}: {pause:?}"
            );
        }
    }
}
