//! Counters that who shows progress looks at.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is moving, across all jobs of a run.
///
/// Written from everywhere, read a few times a second. The counters are independent of each other: a
/// [`Reading`] is near enough for a person, and decides nothing.
#[derive(Debug, Default)]
pub struct Meter {
    moved: AtomicU64,
    expected: AtomicU64,
    in_flight: AtomicU64,
}

/// What a [`Meter`] showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that have moved, those of attempts that failed too.
    pub moved: u64,
    /// Bytes of the blobs that are known to have to move, moved already or not. It grows while images
    /// are resolved.
    pub expected: u64,
    /// Blobs that are moving now.
    pub in_flight: u64,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// `bytes` have moved.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` are known to have to move.
    pub fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` that were [expected](Self::expect) need not move after all: they were mounted, or found.
    pub fn spare(&self, bytes: u64) {
        // Never below zero, whoever forgets to expect first.
        let less = |expected: u64| Some(expected.saturating_sub(bytes));
        let _before = self
            .expected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// A blob begins to move; it ends when the result is dropped, however that comes.
    pub fn begin_blob(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// What it shows.
    pub fn read(&self) -> Reading {
        Reading {
            moved: self.moved.load(Ordering::Relaxed),
            expected: self.expected.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

/// One blob that is moving.
#[derive(Debug)]
#[must_use = "the blob ends when this is dropped"]
pub struct InFlight<'a>(&'a Meter);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
