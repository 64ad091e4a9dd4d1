//! Reading a huge blob by several connections at once, where a single one is what bounds it.
//!
//! A destination takes the bytes of a session in order, so the parts are read side by side and passed on one
//! after the other. That helps where a source gives each connection only so much (object stores and content
//! networks do), and nowhere else: on loopback one connection is as fast as the machine. So it is begun only
//! once a relay was seen to wait for its source and nothing else, and is the only large one that reads there: many
//! share the line already. It is left again where it brings nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, RANGE};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::oci::{Descriptor, Repository};

use super::auth::Access;
use super::blob::{goes_on, length};
use super::call::Lane;
use super::client::Client;
use super::error::{Error, ErrorKind, NetworkError};
use super::limit::{Kind, Permit};

/// One part, in bytes: at 20 ms and 50 MB/s a connection works for three quarters of its time.
const PART_BYTES: u64 = 3 * 1024 * 1024;
/// What is passed on at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Parts of all blobs of a run that are held at once: 15 MiB, for 4 connections and what is passed on.
pub(super) const PARTS_MAX: usize = 5;
/// What must be left of a blob, in bytes; less is not worth the connections.
const REST_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// How long one connection is looked at before several are tried.
const LOOK: Duration = Duration::from_secs(1);
/// Of its time, the share that a reader waits for the source where that alone bounds it.
const BOUND_SHARE: f64 = 0.9;
/// Slower sources are left to one connection, in bytes a second: nothing is passed on until a part is whole, and on a
/// narrow line four share it. So it is 12 s at most, and many proxies cut a body that is silent for a minute.
const SPEED_MIN: f64 = 1024.0 * 1024.0;
/// How long the next part is waited for, for the same reason.
const PART_PATIENCE: Duration = Duration::from_secs(20);
/// How many times faster several connections must be to be kept.
const GAIN_MIN: f64 = 1.25;

/// How fast a source gives, and how much of the time was spent waiting for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gauge {
    began: Instant,
    waited: Duration,
    bytes: u64,
}

impl Gauge {
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// So many bytes came after so long a wait.
    pub(super) fn note(&mut self, bytes: u64, waited: Duration) {
        self.bytes += bytes;
        self.waited += waited;
    }

    /// Whether enough was seen, and the source is what bounds the reader.
    fn is_bound(&self) -> bool {
        let elapsed = self.began.elapsed();
        elapsed >= LOOK && self.waited >= elapsed.mul_f64(BOUND_SHARE)
    }

    /// In bytes a second.
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "a speed is compared by a quarter"
    )]
    fn speed(&self) -> f64 {
        self.bytes as f64 / self.began.elapsed().as_secs_f64().max(1e-6)
    }
}

/// A part that came: where it begins, its bytes, and after how many tries.
type Part = Result<(u64, Bytes, u32), Error>;

/// The rest of a blob, on its way by several connections. Each part is a task, so that none that waits for a
/// token which others wait for too stands still while the destination takes what came before; all end with this.
pub(super) struct Ahead {
    client: Client,
    repository: Repository,
    descriptor: Descriptor,
    /// Up to where it was handed on, and up to where it was asked for.
    handed: u64,
    next: u64,
    running: JoinSet<Part>,
    /// Parts that came before those in front of them.
    early: BTreeMap<u64, Bytes>,
    /// What came and is to be passed on.
    ready: Bytes,
    gauge: Gauge,
    /// The speed of one connection, which several have to beat.
    single: f64,
    is_judged: bool,
    stops: bool,
    // Kept for their Drop: of the connections beside the first, whose place the relay has.
    permits: Vec<Permit>,
    _room: OwnedSemaphorePermit,
}

impl Ahead {
    /// Reads `descriptor` from `offset` on by several connections, if one of them was seen to bound its reader,
    /// by `gauge`, and if there are places and room for more. No byte is promised: where this ends early, the
    /// rest is to be read by one connection.
    pub(super) fn begin(
        client: &Client,
        repository: &Repository,
        descriptor: &Descriptor,
        offset: u64,
        gauge: &Gauge,
    ) -> Option<Self> {
        let transport = &client.transport;
        let host = transport.host(repository.registry());
        let is_worth_it = descriptor.size.saturating_sub(offset) >= REST_BYTES_MIN
            && gauge.is_bound()
            && gauge.speed() >= SPEED_MIN
            && transport.bandwidth.is_none()
            && host.may_split()
            && host.gate.has_one(Kind::Large);
        if !is_worth_it {
            return None;
        }
        let room = Arc::clone(&transport.parts);
        let room = room
            .try_acquire_many_owned(u32::try_from(PARTS_MAX).ok()?)
            .ok()?;
        let permits: Vec<Permit> = (2..PARTS_MAX)
            .map_while(|_| host.gate.try_permit(Kind::Large))
            .collect();
        if permits.is_empty() {
            return None;
        }
        tracing::debug!(digest = %descriptor.digest, offset, connections = permits.len() + 1, "reading ahead");
        Some(Self {
            client: client.clone(),
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            handed: offset,
            next: offset,
            running: JoinSet::new(),
            early: BTreeMap::new(),
            ready: Bytes::new(),
            gauge: Gauge::begin(),
            single: gauge.speed(),
            is_judged: false,
            stops: false,
            permits,
            _room: room,
        })
    }

    /// The next piece in order; `None` where no more come this way.
    ///
    /// # Errors
    ///
    /// Whatever a part met that was not what was asked for. It says nothing of the blob: one connection may
    /// well read it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if !self.ready.is_empty() {
                let piece = self.ready.len().min(PIECE_BYTES);
                return Ok(Some(self.ready.split_to(piece)));
            }
            self.fill();
            if let Some(part) = self.early.remove(&self.handed) {
                self.handed += length(&part);
                self.ready = part;
                self.judge();
                continue;
            }
            let asked = Instant::now();
            let part = tokio::time::timeout(PART_PATIENCE, self.running.join_next()).await;
            let part = match part {
                Ok(Some(Ok(part))) => part.inspect_err(|_| self.refuse())?,
                Ok(None) => return Ok(None),
                // Too slow, or a task that panicked: as if it had never begun.
                Err(_) | Ok(Some(Err(_))) => {
                    self.refuse();
                    return Ok(None);
                }
            };
            let (start, bytes, attempts) = part;
            self.gauge.note(length(&bytes), asked.elapsed());
            if attempts > 1 {
                // It complained: this is too much for it.
                self.refuse();
            }
            self.early.insert(start, bytes);
        }
    }

    /// Asks for parts until all connections have one, or gives a place back that somebody else wants.
    fn fill(&mut self) {
        let transport = &self.client.transport;
        let host = transport.host(self.repository.registry());
        if !self.permits.is_empty() && !host.gate.has_room(Kind::Large) {
            self.permits.pop();
            // One connection is better off without parts.
            self.stops |= self.permits.is_empty();
        }
        let held = |ahead: &Self| ahead.running.len() + ahead.early.len();
        while !self.stops && self.next < self.descriptor.size && held(self) <= self.permits.len() {
            let end = self.descriptor.size.min(self.next + PART_BYTES);
            let part = self.next..end;
            let (client, repository) = (self.client.clone(), self.repository.clone());
            let descriptor = self.descriptor.clone();
            self.running
                .spawn(async move { read(&client, &repository, &descriptor, part).await });
            self.next = end;
        }
    }

    /// Leaves it, once, where several connections that all wait are not faster than one was.
    fn judge(&mut self) {
        if self.is_judged || self.gauge.began.elapsed() < LOOK {
            return;
        }
        self.is_judged = true;
        if self.gauge.is_bound() && self.gauge.speed() < self.single * GAIN_MIN {
            tracing::debug!(digest = %self.descriptor.digest, "reading ahead brings nothing");
            self.refuse();
        }
    }

    /// No more of it from this registry.
    fn refuse(&mut self) {
        self.stops = true;
        let transport = &self.client.transport;
        transport.host(self.repository.registry()).learn_no_split();
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Reads one part: exactly its bytes.
async fn read(
    client: &Client,
    repository: &Repository,
    descriptor: &Descriptor,
    part: Range<u64>,
) -> Part {
    let path = format!("{}/blobs/{}", repository.path(), descriptor.digest);
    let mut call = client
        .call(repository, Access::Pull, Method::GET, path)
        .header(ACCEPT, HeaderValue::from_static("*/*"));
    call.lane = Lane::Held;
    let last = part.end.saturating_sub(1);
    if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-{last}", part.start)) {
        call = call.header(RANGE, range);
    }
    let mut answer = client.transport.send(call).await?;
    let range = answer.header("content-range");
    let is_part = answer.response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| goes_on(range, part.start, descriptor.size));
    if !is_part {
        return Err(answer.error(ErrorKind::Protocol(
            "it gave another part than was asked for",
        )));
    }
    let patience = client.transport.settings.stall_timeout / 3;
    let bytes = usize::try_from(part.end - part.start).unwrap_or_default();
    // Copied, for a piece may hold a whole buffer of its connection.
    let mut whole = BytesMut::with_capacity(bytes);
    while whole.len() < bytes {
        match tokio::time::timeout(patience, answer.response.chunk()).await {
            Err(_) => return Err(answer.error(ErrorKind::Stalled(patience))),
            Ok(Err(error)) => {
                let network = NetworkError::http(error);
                return Err(answer.error(ErrorKind::Network(Box::new(network))));
            }
            Ok(Ok(Some(piece))) if piece.len() <= bytes - whole.len() => {
                whole.extend_from_slice(&piece);
            }
            Ok(Ok(_)) => {
                let what = "it gave a part of another length";
                return Err(answer.error(ErrorKind::Protocol(what)));
            }
        }
    }
    Ok((part.start, whole.freeze(), answer.attempts))
}
