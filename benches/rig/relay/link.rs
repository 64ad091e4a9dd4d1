//! The arithmetic of one direction of a link: when what is sent at some time has left, and when it arrives.
//!
//! Pure: times are durations since whenever the caller began to count.

use std::time::Duration;

/// What may wait before the link, in bytes, all connections together. A router's buffer is of that size.
const QUEUE: u64 = 1024 * 1024;
/// The same in time, on links so fast that the queue would be empty before a timer ends (1 ms, twice).
const QUEUE_TIME: Duration = Duration::from_millis(4);
/// The largest piece that is sent at once, in bytes, and the smallest: a packet.
const PIECE_MAX: usize = 64 * 1024;
const PIECE_MIN: usize = 1460;
/// How much of the link's time a piece takes at most, so that connections take turns often.
const PIECE_TIME: Duration = Duration::from_millis(1);
/// What one connection may have under way without a rate, in bytes: 640 MB a second at 100 ms.
const WINDOW_UNPACED: usize = 32 * 1024 * 1024;

/// How a link is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// From one end to the other and back.
    pub(crate) round_trip: Duration,
    /// Of each direction; without it, bytes take no time.
    pub(crate) bits_per_second: Option<u64>,
}

impl Shape {
    /// From one end to the other.
    pub(crate) fn one_way(&self) -> Duration {
        self.round_trip / 2
    }

    /// How many bytes are read and sent at once.
    pub(crate) fn piece(&self) -> usize {
        let bytes = self.bits_per_second.map(|rate| bytes_in(PIECE_TIME, rate));
        bytes.map_or(PIECE_MAX, |bytes| {
            usize::try_from(bytes).map_or(PIECE_MAX, |bytes| bytes.clamp(PIECE_MIN, PIECE_MAX))
        })
    }

    /// How many bytes one connection may have under way: what fills the link and its queue, so that one
    /// connection can use all of it, and a receiver that does not read holds up its own sender alone.
    pub(crate) fn window(&self) -> usize {
        let bytes = self
            .bits_per_second
            .map(|rate| bytes_in(self.round_trip, rate).saturating_add(QUEUE));
        bytes.map_or(WINDOW_UNPACED, |bytes| {
            usize::try_from(bytes).unwrap_or(WINDOW_UNPACED)
        })
    }

    /// How long the queue may be, in the time that it takes to leave.
    fn queue_time(&self) -> Duration {
        self.time_for(QUEUE).max(QUEUE_TIME)
    }

    /// How long so many bytes take to leave.
    fn time_for(&self, bytes: u64) -> Duration {
        let Some(rate) = self.bits_per_second else {
            return Duration::ZERO;
        };
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn bytes_in(time: Duration, bits_per_second: u64) -> u64 {
    let bytes = u128::from(bits_per_second) * time.as_nanos() / 8 / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// One direction, for all connections together.
#[derive(Debug)]
pub(crate) struct Link {
    shape: Shape,
    /// When all that was sent so far has left.
    free: Duration,
}

impl Link {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            free: Duration::ZERO,
        }
    }

    /// When the queue has room for one more piece: now, or later.
    pub(crate) fn room(&self, now: Duration) -> Duration {
        self.free.saturating_sub(self.shape.queue_time()).max(now)
    }

    /// Sends so many bytes behind all others; returns when the last of them arrives.
    pub(crate) fn send(&mut self, now: Duration, bytes: u64) -> Duration {
        self.free = self.free.max(now) + self.shape.time_for(bytes);
        self.free + self.shape.one_way()
    }
}
