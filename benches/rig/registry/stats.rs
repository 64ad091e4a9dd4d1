//! What was counted since the start or the last reset.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use serde_json::{Value, json};

/// A kind of request: method, what it was about, and what was answered.
type Kind = (Method, &'static str, StatusCode);

/// Counters; bytes are those of bodies, before TLS.
#[derive(Debug, Default)]
pub(super) struct Stats {
    requests: Mutex<Vec<(Kind, u64)>>,
    pub(super) bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pub(super) connections: AtomicU64,
}

impl Stats {
    /// Counts an answer with a body of so many bytes: those that are about to be sent, whether or not the
    /// client takes them all.
    pub(super) fn answered(
        &self,
        method: &Method,
        about: &'static str,
        status: StatusCode,
        out: u64,
    ) {
        self.bytes_out.fetch_add(out, Ordering::Relaxed);
        let mut requests = self.requests();
        // There are some ten kinds in a run: shorter than any map.
        let found = requests
            .iter_mut()
            .find(|((other, kind, code), _)| code == &status && *kind == about && other == method);
        match found {
            Some((_, count)) => *count += 1,
            None => requests.push(((method.clone(), about, status), 1)),
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.requests().clear();
        for counter in [&self.bytes_in, &self.bytes_out, &self.connections] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn json(&self) -> Value {
        let requests: BTreeMap<String, u64> = self
            .requests()
            .iter()
            .map(|((method, kind, status), count)| {
                (format!("{method} {kind} {}", status.as_u16()), *count)
            })
            .collect();
        json!({
            "requests": requests,
            "bytes_in": self.bytes_in.load(Ordering::Relaxed),
            "bytes_out": self.bytes_out.load(Ordering::Relaxed),
            "connections": self.connections.load(Ordering::Relaxed),
        })
    }

    fn requests(&self) -> MutexGuard<'_, Vec<(Kind, u64)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
