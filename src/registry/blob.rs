//! Reading a blob: bounded, verified as it passes, taken up again where it broke off.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::{ACCEPT, RANGE};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::oci::{Descriptor, Repository};

use super::ahead::{Ahead, Gauge};
use super::auth::Access;
use super::call::{Answer, Lane, PAGE, is_page};
use super::client::Client;
use super::error::{Error, ErrorKind, Mismatch, NetworkError};
use super::trail::{Halt, Trail};

/// A connection that brought at least this much before it broke has not used up a try, in bytes.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// A blob on its way from a registry.
///
/// Yields the bytes in order, but withholds the last piece until all bytes fit the descriptor: what
/// feeds on it cannot complete with wrong bytes. A connection that breaks off is taken up again by
/// `Range`, asked of the registry anew and not of an old signed URL. A second reading, for a destination
/// that has a part already, hashes all and yields the rest; see `Trail`.
pub struct BlobReader {
    client: Client,
    repository: Repository,
    descriptor: Descriptor,
    lane: Lane,
    body: Option<reqwest::Response>,
    // Bytes that came, and are passed on at the pace that was asked for.
    waiting: Bytes,
    // Up to where bytes were taken from the registry, all of them hashed.
    offset: u64,
    // Where what is yielded begins.
    first: u64,
    trail: Arc<Trail>,
    // Bytes of a whole answer that were seen before, still to be passed over.
    skip: u64,
    withheld: Option<Bytes>,
    failures: u32,
    offset_at_failure: u64,
    progress_at: Instant,
    ranges: Ranges,
    // What its connection gives, and the several that may take its place, once.
    gauge: Gauge,
    ahead: Option<Box<Ahead>>,
    went_ahead: bool,
}

/// Whether the registry is asked for a part of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Asked,
    /// It gave a wrong one, or none: the whole is asked for, and what was seen is passed over.
    Useless,
}

impl Client {
    pub(super) fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        lane: Lane,
    ) -> BlobReader {
        let trail = Trail::new(descriptor.digest.algorithm());
        BlobReader {
            client: self.clone(),
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            lane,
            body: None,
            waiting: Bytes::new(),
            offset: 0,
            first: 0,
            trail: Arc::new(trail),
            skip: 0,
            withheld: None,
            failures: 0,
            offset_at_failure: 0,
            progress_at: Instant::now(),
            ranges: Ranges::Asked,
            gauge: Gauge::begin(),
            ahead: None,
            went_ahead: false,
        }
    }
}

impl BlobReader {
    /// Makes this a second reading, of which `trail` says where it begins and what it yields.
    pub(super) fn along(self, trail: Trail) -> Self {
        let offset = trail.start();
        Self {
            offset,
            offset_at_failure: offset,
            first: trail.passed(),
            trail: Arc::new(trail),
            ..self
        }
    }

    /// What is known of the bytes that it yields, also when it is gone.
    pub(super) const fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// The next piece, or `None` after the last one, when all bytes have fitted the descriptor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`] for wrong bytes; otherwise what the last of the tries met.
    ///
    /// # Cancel safety
    ///
    /// Not to be called again after it was dropped in the middle.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        // Time that passed before anybody asked is not the source's.
        self.progress_at = Instant::now();
        loop {
            if let Some(halt) = self.trail.halt() {
                return Err(self.halted(halt));
            }
            if self.offset == self.descriptor.size {
                return self.finish();
            }
            if self.waiting.is_empty() {
                if let Some(piece) = self.piece_ahead().await {
                    self.waiting = piece;
                    continue;
                }
                self.begin().await?;
                let Some(body) = self.body.take() else {
                    continue;
                };
                match self.piece(body).await {
                    Ok(piece) => self.waiting = piece,
                    Err(error) => {
                        self.break_off(error).await?;
                        continue;
                    }
                }
            }
            let piece = self.paced().await;
            self.progress_at = Instant::now();
            if let Some(ready) = self.take_in(piece)? {
                return Ok(Some(ready));
            }
        }
    }

    /// Hashes the next piece and withholds it; gives the one before it.
    fn take_in(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, Error> {
        let hashed = self.trail.take_in(&piece);
        hashed.map_err(|halt| self.halted(halt))?;
        let surplus = self.first.saturating_sub(self.offset);
        self.offset += length(&piece);
        pass_over(&mut piece, surplus);
        if piece.is_empty() {
            return Ok(None);
        }
        let ready = self.withheld.replace(piece);
        if let Some(ready) = &ready {
            self.trail.hand_on(ready);
        }
        Ok(ready)
    }

    /// As much of what came as may pass now.
    async fn paced(&mut self) -> Bytes {
        let Some(bandwidth) = &self.client.transport.bandwidth else {
            return std::mem::take(&mut self.waiting);
        };
        let piece = self.waiting.len().min(bandwidth.piece_max());
        let piece = self.waiting.split_to(piece);
        bandwidth.pass(piece.len()).await;
        piece
    }

    /// Whether all bytes have come and fit the descriptor.
    pub(super) fn is_verified(&self) -> bool {
        self.trail.is_verified()
    }

    /// All bytes are there: yields the withheld piece if they fit, then the end.
    fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.trail.is_verified() {
            let asked = self.descriptor.digest;
            if let Err(computed) = self.trail.finish(&asked) {
                // Stays unverified for ever, and yields nothing more.
                self.withheld = None;
                return Err(self.error(ErrorKind::Integrity(Box::new(Mismatch::Digest {
                    asked,
                    computed,
                }))));
            }
            self.body = None;
            self.ahead = None;
        }
        let last = self.withheld.take();
        if let Some(piece) = &last {
            self.trail.hand_on(piece);
        }
        Ok(last)
    }

    /// Asks the registry, unless its answer is there or none is needed.
    ///
    /// What fails here was tried as often as it may be, and is not tried again; and to wait for the
    /// answer, for a `Retry-After` say, is not lack of progress.
    ///
    /// # Errors
    ///
    /// As for every request.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if self.body.is_none() && self.offset < self.descriptor.size {
            let asked = Instant::now();
            self.body = Some(self.open().await?);
            self.progress_at += asked.elapsed();
            self.gauge = Gauge::begin();
        }
        Ok(())
    }

    /// The next piece of what is read ahead, if anything is: begins to where that helps, and goes back to one
    /// connection where it does not, or met anything that it did not expect.
    async fn piece_ahead(&mut self) -> Option<Bytes> {
        let may = self.lane == Lane::Held && self.ranges == Ranges::Asked;
        if may && !self.went_ahead && self.body.is_some() {
            let begun = Ahead::begin(
                &self.client,
                &self.repository,
                &self.descriptor,
                self.offset,
                &self.gauge,
            );
            if let Some(ahead) = begun {
                self.went_ahead = true;
                self.ahead = Some(Box::new(ahead));
            }
        }
        let piece = self.ahead.as_mut()?.next().await;
        if let Err(error) = &piece {
            tracing::debug!(digest = %self.descriptor.digest, offset = self.offset, %error, "no more is read ahead");
        }
        let piece = piece.ok().flatten();
        if piece.is_some() {
            // Its next bytes are these; until they came it stood by.
            self.body = None;
        } else {
            self.ahead = None;
            // What came meanwhile is progress of the source.
            self.progress_at = Instant::now();
        }
        piece
    }

    /// A piece of the body at the offset: never empty, never beyond the size.
    async fn piece(&mut self, mut body: reqwest::Response) -> Result<Bytes, Error> {
        // A third of the time, so that a dead connection is left while there is still some.
        let patience = self.client.transport.settings.stall_timeout / 3;
        loop {
            let asked = Instant::now();
            let chunk = tokio::time::timeout(patience, body.chunk()).await;
            let waited = asked.elapsed();
            let mut chunk = match chunk {
                Err(_) => return Err(self.error(ErrorKind::Stalled(patience))),
                Ok(Err(error)) => {
                    let network = NetworkError::http(error);
                    return Err(self.error(ErrorKind::Network(Box::new(network))));
                }
                Ok(Ok(None)) => {
                    let eof = std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        format!(
                            "it ended after {} of {} bytes",
                            self.offset, self.descriptor.size
                        ),
                    );
                    return Err(self.error(ErrorKind::Network(Box::new(eof.into()))));
                }
                Ok(Ok(Some(chunk))) => chunk,
            };
            self.gauge.note(length(&chunk), waited);
            self.skip -= pass_over(&mut chunk, self.skip);
            if chunk.is_empty() {
                // Passing over is progress too, though nothing comes of it yet.
                self.progress_at = Instant::now();
                continue;
            }
            if self.offset + length(&chunk) > self.descriptor.size {
                return Err(self.error(self.size_mismatch(self.descriptor.size + 1)));
            }
            self.body = Some(body);
            return Ok(chunk);
        }
    }

    /// Asks the registry for the blob from the offset on.
    async fn open(&mut self) -> Result<reqwest::Response, Error> {
        let path = format!(
            "{}/blobs/{}",
            self.repository.path(),
            self.descriptor.digest
        );
        let mut call = self
            .client
            .call(&self.repository, Access::Pull, Method::GET, path)
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        call.lane = self.lane;
        let asks_range = self.offset > 0 && self.ranges == Ranges::Asked;
        if asks_range && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.offset)) {
            call = call.header(RANGE, range);
        }
        let answer = match self.client.transport.send(call).await {
            Err(error) if asks_range && is_range_refusal(&error) => return self.open_whole().await,
            answered => answered?,
        };
        if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            if self.continues(&answer) {
                self.skip = 0;
                return Ok(answer.response);
            }
            if asks_range {
                return self.open_whole().await;
            }
            return Err(answer.error(ErrorKind::Protocol(
                "it gave a part where all was asked for",
            )));
        }
        // The whole blob: what was seen already is passed over; the digest tells if it differs.
        self.skip = self.offset;
        let announced = answer.response.content_length();
        // A blob may be a page; one of another length, or of none, is somebody's who wants a login.
        if announced != Some(self.descriptor.size)
            && is_page(answer.response.headers())
            && self.descriptor.media_type.as_str() != "text/html"
        {
            return Err(answer.error(ErrorKind::Protocol(PAGE)));
        }
        if let Some(served) = announced.filter(|length| *length != self.descriptor.size) {
            return Err(answer.error(self.size_mismatch(served)));
        }
        Ok(answer.response)
    }

    /// Asks for the whole blob, now and from now on.
    async fn open_whole(&mut self) -> Result<reqwest::Response, Error> {
        self.ranges = Ranges::Useless;
        Box::pin(self.open()).await
    }

    /// Whether the answer's `Content-Range` goes on where this reader stands.
    fn continues(&self, answer: &Answer) -> bool {
        let range = answer.header("content-range");
        range.is_some_and(|range| goes_on(range, self.offset, self.descriptor.size))
    }

    /// After a failure: waits and lets the next call open anew, or gives up with `error`.
    async fn break_off(&mut self, error: Error) -> Result<(), Error> {
        self.body = None;
        let stall = self.client.transport.settings.stall_timeout;
        if !error.is_passing() {
            return Err(error);
        }
        if self.progress_at.elapsed() >= stall {
            return Err(self.error(ErrorKind::Stalled(stall)));
        }
        // One that stalls and still moves is slow, and has the time that it needs; what must not go
        // on for ever is a connection that is cut again and again.
        let is_slow = matches!(error.kind, ErrorKind::Stalled(_));
        let least = if is_slow { 1 } else { PROGRESS_BYTES };
        if self.offset >= self.offset_at_failure + least {
            self.failures = 0;
        }
        self.offset_at_failure = self.offset;
        self.failures += 1;
        let retry = self.client.retry();
        if self.failures >= retry.attempts {
            return Err(error);
        }
        tracing::debug!(digest = %self.descriptor.digest, offset = self.offset, %error, "taking up a blob again");
        let pause = if self.failures == 1 {
            Duration::ZERO
        } else {
            retry.pause_after(self.failures)
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn size_mismatch(&self, served: u64) -> ErrorKind {
        ErrorKind::Integrity(Box::new(Mismatch::Size {
            digest: self.descriptor.digest,
            expected: self.descriptor.size,
            served,
        }))
    }

    fn halted(&self, halt: Halt) -> Error {
        self.error(ErrorKind::Protocol(match halt {
            Halt::Left => "another reading has taken over",
            Halt::Changed => "it gives other bytes than before",
        }))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error {
            method: Method::GET,
            url: format!("{}/blobs/{}", self.repository, self.descriptor.digest),
            attempts: self.failures + 1,
            kind,
            wait: None,
        }
    }
}

// By hand: the URL of an answer may be signed.
impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("repository", &self.repository)
            .field("digest", &self.descriptor.digest)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Whether a registry cannot give the part that was asked for.
fn is_range_refusal(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Refused(words) if words.status == StatusCode::RANGE_NOT_SATISFIABLE)
}

/// Leaves out the first `most` bytes, or as many as there are, and says how many.
fn pass_over(bytes: &mut Bytes, most: u64) -> u64 {
    let passed = most.min(length(bytes));
    bytes.advance(usize::try_from(passed).unwrap_or(bytes.len()));
    passed
}

pub(super) fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Whether a `Content-Range` begins at `offset`, and is of a blob of `size`, where it says of which.
pub(super) fn goes_on(range: &str, offset: u64, size: u64) -> bool {
    let Some(rest) = range.trim().strip_prefix("bytes ") else {
        return false;
    };
    let Some((start_end, total)) = rest.split_once('/') else {
        return false;
    };
    let start = start_end.split_once('-').map(|(start, _)| start.parse());
    start == Some(Ok(offset)) && (total == "*" || total.parse() == Ok(size))
}
