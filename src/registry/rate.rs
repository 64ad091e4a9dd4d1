//! Fixed paces: requests a second of one registry, bytes a second of all blobs.
//!
//! Where limits that adapt are not wanted: a registry that punishes each complaint, a line that others use too.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest that one request waits for its turn, and the unit of the slowest pace.
const INTERVAL_MAX: Duration = Duration::from_hours(1);

/// A turn that is so near is taken at once: timers count in milliseconds, and would make a fast pace a slow one.
const SLACK: Duration = Duration::from_millis(2);

/// Requests a second; at least one an hour, at most a million a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// `per_second` requests a second; `None` beyond the bounds.
    pub fn new(per_second: f64) -> Option<Self> {
        let least = 1.0 / INTERVAL_MAX.as_secs_f64();
        (least..=1e6)
            .contains(&per_second)
            .then_some(Self(per_second))
    }

    /// The time from one request to the next.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests a second", self.0)
    }
}

/// A queue in which turns come at even distances. Nothing is saved up while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: Mutex<Option<Instant>>,
}

impl Turns {
    /// Waits for a turn that takes `interval`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves its turn unused; those behind it wait as long as they would have.
    pub(super) async fn take(&self, interval: Duration) {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.unwrap_or(now).max(now);
            *next = Some(turn + interval);
            turn
        };
        if turn > now + SLACK {
            tokio::time::sleep_until(turn).await;
        }
    }
}

/// How fast blobs are read, all transfers together.
#[derive(Debug)]
pub(super) struct Bandwidth {
    per_second: NonZeroU64,
    turns: Turns,
}

impl Bandwidth {
    pub(super) fn new(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            turns: Turns::default(),
        }
    }

    /// The largest piece that is passed on at once, in bytes: what comes in an eighth of a second, so that
    /// a slow pace is a slow stream and not a row of silences.
    pub(super) fn piece_max(&self) -> usize {
        usize::try_from(self.per_second.get() / 8)
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// Waits until `bytes` more may pass.
    ///
    /// # Cancel safety
    ///
    /// As [`Turns::take`].
    pub(super) async fn pass(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let nanoseconds = u64::from(bytes).saturating_mul(1_000_000_000) / self.per_second;
        self.turns.take(Duration::from_nanos(nanoseconds)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paces_that_can_be_kept_are_taken() {
        for bad in [0.0, -1.0, 1e-9, 1e7, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(bad), None, "{bad}");
        }
        let rate = Rate::new(0.5).unwrap();
        assert_eq!(rate.interval(), Duration::from_secs(2));
        assert_eq!(rate.to_string(), "0.5 requests a second");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_even_distances_and_are_not_saved_up() {
        let turns = Turns::default();
        let interval = Duration::from_millis(100);
        let began = Instant::now();
        for _ in 0..3 {
            turns.take(interval).await;
        }
        assert_eq!(began.elapsed(), 2 * interval);
        tokio::time::sleep(10 * interval).await;
        let again = Instant::now();
        for _ in 0..3 {
            turns.take(interval).await;
        }
        assert_eq!(again.elapsed(), 2 * interval);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_all_transfers_share_one_pace() {
        let bandwidth = Bandwidth::new(NonZeroU64::new(1000).unwrap());
        assert_eq!(bandwidth.piece_max(), 125);
        let began = Instant::now();
        let one = async {
            for _ in 0..8 {
                bandwidth.pass(125).await;
            }
        };
        let other = async {
            for _ in 0..8 {
                bandwidth.pass(125).await;
            }
        };
        futures::join!(one, other);
        // 2000 bytes, the first of them at once.
        assert_eq!(began.elapsed(), Duration::from_millis(1875));
    }
}
