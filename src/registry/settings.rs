//! What a client is made with.

use std::time::Duration;

use super::credential::Credentials;

/// Whether certificates are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Certificates are checked against the system's roots.
    Verified,
    /// Any certificate is taken, and plain HTTP where TLS is not spoken.
    Unverified,
}

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
        wait.map_or(own, |wait| wait.max(own))
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

/// What a [`Client`](super::Client) is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who gets which credential.
    pub credentials: Credentials,
    /// Whether certificates are checked, on both sides.
    pub tls: Tls,
    /// How long nothing may happen before a request or transfer has failed.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: Retry,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            tls: Tls::Verified,
            stall_timeout: Duration::from_mins(1),
            retry: Retry::default(),
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
