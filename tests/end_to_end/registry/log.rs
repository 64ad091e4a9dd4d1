//! The log of a test registry: every request, in order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request};
use tokio::sync::watch;

/// One request as it was seen.
///
/// `number` and `answered` count up together over all requests of a registry: of two requests, the
/// one that was answered before the other came has the smaller `answered` than its `number`.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// When it came.
    pub(crate) number: u64,
    /// The same by the clock.
    pub(crate) at: Instant,
    /// When the head of its answer went out; `None` while it waits, or when it got none.
    pub(crate) answered: Option<u64>,
    /// The method.
    pub(crate) method: Method,
    /// The path, without the query.
    pub(crate) path: String,
    /// The query, or nothing.
    pub(crate) query: String,
    /// All headers of the request.
    pub(crate) headers: HeaderMap,
    /// The status of the answer.
    pub(crate) status: Option<u16>,
    /// How many bytes of the request's body came in.
    pub(crate) received: u64,
    /// The first 4 KiB of them.
    pub(crate) body: Vec<u8>,
}

/// How much of a body is kept, in bytes.
const BODY_KEPT: usize = 4096;

impl Logged {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: HeaderName) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// From which byte on something is asked for: 0 without a `Range`, nothing for one that is not `bytes=N-`.
    pub(crate) fn first_byte(&self) -> Option<u64> {
        match self.header(header::RANGE) {
            "" => Some(0),
            range => range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok(),
        }
    }

    /// The scheme of the `Authorization`, or nothing.
    pub(crate) fn scheme(&self) -> &str {
        let value = self.header(header::AUTHORIZATION);
        value.split(' ').next().unwrap_or_default()
    }

    /// Whether the method is `method` (`*` for any) and the path fits `path`, where `*` stands for
    /// any text; a pattern with a `?` is compared with path and query.
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        super::rules::fits(method, path, (&self.method, &self.path, &self.query))
    }
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} {} {}", self.number, self.method, self.path)?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        match self.status {
            Some(status) => write!(f, " -> {status}")?,
            None => write!(f, " -> nothing")?,
        }
        if self.received > 0 {
            write!(f, " ({} bytes came in)", self.received)?;
        }
        Ok(())
    }
}

/// A log that grows.
#[derive(Debug, Clone)]
pub(super) struct Log {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    requests: Vec<Logged>,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The place of one request in the log.
#[derive(Debug, Clone)]
pub(super) struct Line {
    log: Log,
    number: u64,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin<B>(&self, request: &Request<B>) -> Line {
        let mut state = self.state();
        let number = state.tick();
        state.requests.push(Logged {
            number,
            at: Instant::now(),
            answered: None,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            status: None,
            received: 0,
            body: Vec::new(),
        });
        drop(state);
        self.changed.send_replace(());
        Line {
            log: self.clone(),
            number,
        }
    }

    pub(super) fn requests(&self) -> Vec<Logged> {
        self.state().requests.clone()
    }

    pub(super) fn clear(&self) {
        self.state().requests.clear();
    }

    pub(super) async fn wait(&self, mut enough: impl FnMut(&[Logged]) -> bool) {
        let mut changed = self.changed.subscribe();
        while !enough(&self.state().requests) {
            changed.changed().await.expect("the log lives");
        }
    }
}

impl Line {
    fn update(&self, change: impl FnOnce(&mut Logged, u64)) {
        let mut state = self.log.state();
        let now = state.next + 1;
        let line = state
            .requests
            .iter_mut()
            .find(|line| line.number == self.number);
        // A log that was cleared meanwhile wants to hear no more of it.
        if let Some(line) = line {
            change(line, now);
            if line.answered == Some(now) {
                state.next = now;
            }
        }
        drop(state);
        self.log.changed.send_replace(());
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        self.update(|line, _| {
            line.received += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let room = BODY_KEPT - line.body.len();
            line.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }

    pub(super) fn answered(&self, status: u16) {
        self.update(|line, now| {
            line.status = Some(status);
            line.answered = Some(now);
        });
    }
}
