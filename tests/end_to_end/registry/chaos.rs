//! Faults at random: a share of all requests goes wrong, one way or the other, and now and then all of them do.
//!
//! The dice are seeded. Which request meets which fault depends on their order too, which is not the same
//! twice; what must hold holds whatever the order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use tokio::sync::{Semaphore, watch};

use super::rules::{Active, After, Answer, Before, Fault, Reads};

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chaos {
    /// So many requests of a thousand.
    pub(crate) per_mille: u32,
    /// So many requests of a hundred thousand begin a time in which nothing goes well.
    pub(crate) outages: u32,
    /// For so many requests.
    pub(crate) outage: u32,
}

/// The dice of a registry.
#[derive(Debug)]
pub(super) struct Dice(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    chaos: Chaos,
    rng: Rng,
    // What is left of an outage.
    out: u32,
}

impl Default for Dice {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl Dice {
    /// From now on so much goes wrong; nothing without a number.
    pub(super) fn set(&self, chaos: Option<(Chaos, u64)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chaos.map(|(chaos, seed)| State {
            chaos,
            rng: Rng::with_seed(seed),
            out: 0,
        });
    }

    /// What shall happen to this request.
    pub(super) fn fault(&self, method: &Method, path: &str) -> Option<(Fault, Active)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = state.as_mut()?.roll(method, path)?;
        drop(state);
        // Nobody waits for it, and it holds nothing.
        let active = Active {
            hits: Arc::new(watch::Sender::new(1)),
            gate: Arc::new(Semaphore::new(0)),
        };
        Some((fault, active))
    }
}

impl State {
    fn roll(&mut self, method: &Method, path: &str) -> Option<Fault> {
        if self.out == 0 && self.rng.u32(0..100_000) < self.chaos.outages {
            self.out = self.chaos.outage;
        }
        if self.out > 0 {
            self.out -= 1;
            return Some(Fault::Before(Before::HangUp));
        }
        (self.rng.u32(0..1000) < self.chaos.per_mille).then(|| self.fault(method, path))
    }

    fn fault(&mut self, method: &Method, path: &str) -> Fault {
        let is_read = method == Method::GET;
        let is_write = matches!(*method, Method::PUT | Method::PATCH);
        // Only what has its digest in its name can be known to be wrong.
        let is_named = path.contains("/blobs/sha256:") || path.contains("/manifests/sha256:");
        let bytes = self.rng.usize(0..3000);
        loop {
            return match self.rng.u8(0..12) {
                0 => Fault::Before(Before::HangUp),
                1 => Fault::After(After::LoseAnswer),
                2 => self.answer(&[500, 502, 503, 504], None),
                3 => self.answer(&[429, 503], Some("0")),
                4 => self.answer(&[429], Some("1")),
                5 => Fault::Before(Before::Delay(Duration::from_millis(self.rng.u64(1..60)))),
                // Longer than a stall timeout of a second.
                6 if self.rng.u8(0..8) == 0 => {
                    Fault::Before(Before::Delay(Duration::from_millis(1500)))
                }
                7 if is_read => Fault::After(After::CutBody(bytes)),
                8 if is_write => Fault::Before(Before::CutRequest(bytes)),
                9 if is_read && is_named => Fault::After(After::CorruptBody(bytes.min(40))),
                10 => Fault::After(After::DropHeader(HeaderName::from_static(
                    "docker-content-digest",
                ))),
                11 if is_read && is_named => Fault::After(After::ReplaceBody(Bytes::from_static(
                    b"{\"not\":\"what was asked for\"}",
                ))),
                _ => continue,
            };
        }
    }

    fn answer(&mut self, of: &[u16], retry_after: Option<&'static str>) -> Fault {
        let status = *self.rng.choice(of).expect("there is one");
        let wait = retry_after.map(|wait| (RETRY_AFTER, HeaderValue::from_static(wait)));
        Fault::Before(Before::Respond(Answer {
            status,
            headers: wait.into_iter().collect(),
            body: Bytes::new(),
            reads: Reads::All,
        }))
    }
}
