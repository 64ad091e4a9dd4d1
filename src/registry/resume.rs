//! Going on with an upload that broke: asking the destination what it has, and from there.
//!
//! By the OCI distribution specification 1.1 ("Pushing a blob in chunks") a GET of a session's location says
//! with `Range: 0-LAST` what is there, and the last part may come in the closing PUT, with a `Content-Range`.
//! What registries make of it differs: distribution 2.8 answers 404 after any break, and ends the session
//! (measured); distribution 3 counts what it has; zot deletes a session that broke and keeps one that it was
//! killed under (both from their source). So it is asked for and never relied on: whatever is odd costs a
//! new session, and nothing else.

use std::time::Duration;

use http::header::RANGE;
use http::{HeaderMap, Method, StatusCode};

use super::auth::Side;
use super::call::{Answer, Lane, Redirects};
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::relay::call;
use super::trail::Trail;
use super::upload::Upload;

/// A session is gone on with where it has at least this much more than when it was last begun or gone on
/// with, in bytes: for less, a new one costs the same, and each part brings an end nearer.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// How long a destination may want to be left alone before it is asked, and how long it may take to answer:
/// places at two registries are held meanwhile. A registry that is started anew is there by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a session that broke.
enum Standing {
    /// It is there, with so many bytes.
    Has(Upload, u64),
    /// It is there, and does not say what it has.
    Silent,
    /// It is not there, or cannot be asked.
    Gone,
    /// There is no answer.
    Unknown,
}

impl Client {
    /// Where to go on with an upload that broke with `error`, and the trail of the reading for it; `None` where
    /// a new session has to be opened. The session is given up then, where it is still there.
    ///
    /// The caller holds [`Lanes`](super::Lanes).
    pub(super) async fn resume(
        &self,
        upload: &Upload,
        size: u64,
        trail: &Trail,
        error: &mut Error,
    ) -> Option<(Upload, Trail)> {
        trail.leave();
        let host = self.transport.host(upload.repository.registry());
        let least = trail.begun_with().saturating_add(PROGRESS_BYTES);
        let pause = self.retry().pause(1, error.wait);
        let is_worth_it = host.may_resume() && trail.passed() >= least;
        if !error.is_passing() || !is_worth_it || pause > PATIENCE {
            return None;
        }
        tokio::time::sleep(pause).await;
        // Whoever begins anew has waited by then.
        error.wait = None;
        let standing = self.standing(upload).await;
        if matches!(standing, Standing::Silent | Standing::Gone) {
            host.learn_resume(false);
        }
        match standing {
            Standing::Has(upload, held) => {
                let trail = Some(held)
                    .filter(|held| (least..=size).contains(held))
                    .and_then(|held| trail.again(held));
                if let Some(trail) = trail {
                    tracing::debug!(repository = %upload.repository, held, %error, "going on with an upload");
                    return Some((upload, trail));
                }
                self.give_up(&upload).await;
            }
            Standing::Silent => self.give_up(upload).await,
            Standing::Gone | Standing::Unknown => {}
        }
        None
    }

    /// Asks once, and not for long, how far a session came.
    async fn standing(&self, upload: &Upload) -> Standing {
        let mut call = call(upload, Method::GET, upload.location.clone());
        call.lane = Lane::Held;
        // A session is where it is; what is elsewhere speaks of something else.
        call.redirects = Redirects::Answer;
        let patience = PATIENCE.min(self.transport.settings.stall_timeout / 2);
        let asked = tokio::time::timeout(patience, self.transport.send(call)).await;
        let answer = match asked {
            Ok(Ok(answer)) if answer.response.status().is_success() => answer,
            Ok(Err(error)) if error.is_passing() => return Standing::Unknown,
            Ok(_) => return Standing::Gone,
            Err(_) => return Standing::Unknown,
        };
        let Some(held) = held(answer.response.headers()) else {
            return Standing::Silent;
        };
        match self.moved_to(upload, &answer).await {
            Ok(upload) => Standing::Has(upload, held),
            Err(error) => {
                tracing::debug!(%error, "an upload that cannot be gone on with");
                Standing::Gone
            }
        }
    }

    /// The session at its newest place, which is checked like the first one.
    async fn moved_to(&self, upload: &Upload, answer: &Answer) -> Result<Upload, Error> {
        let base = self.transport.base(&upload.repository, Side::Destination);
        let base = base.await?;
        let location = match answer.location(&base)? {
            Some(location) => location,
            None => upload.location.clone(),
        };
        Ok(Upload {
            repository: upload.repository.clone(),
            location,
            source: None,
        })
    }
}

/// Whether a registry that was to take the rest of a blob does not go on with uploads, as far as its answer
/// says; a new session shows what else may be wrong.
pub(super) fn is_resume_refusal(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Refused(words) => {
            !words.is_quota() && words.status != StatusCode::PAYLOAD_TOO_LARGE
        }
        ErrorKind::Server(_) => !kind.is_passing(),
        ErrorKind::NotFound(_)
        | ErrorKind::Conflict(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::TooLong(_) => true,
        ErrorKind::Unauthorized(_)
        | ErrorKind::CredentialRefused(_)
        | ErrorKind::RateLimited(_)
        | ErrorKind::Network(_)
        | ErrorKind::Stalled(_)
        | ErrorKind::Integrity(_)
        | ErrorKind::Document(_)
        | ErrorKind::Untrusted(_) => false,
    }
}

/// How many bytes a session has, by its one `Range`: `0-LAST`, with `bytes=` before it as HTTP has it, or
/// without as the specification writes it.
///
/// `0-0` is said of nothing and of one byte, which is as good as nothing.
pub(super) fn held(headers: &HeaderMap) -> Option<u64> {
    let mut ranges = headers.get_all(RANGE).into_iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return None;
    };
    let range = range.to_str().ok()?.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last = range.strip_prefix("0-")?;
    // A sign is no digit, though it would be parsed.
    if !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let last = last.parse::<u64>().ok().filter(|last| *last > 0)?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ranges: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for range in ranges {
            headers.append(RANGE, range.parse().unwrap());
        }
        held(&headers)
    }

    #[test]
    fn what_a_session_has_is_read_strictly() {
        for range in ["0-99", "bytes=0-99", " 0-99 ", "0-00099"] {
            assert_eq!(said(&[range]), Some(100), "{range}");
        }
        assert_eq!(said(&["0-18446744073709551614"]), Some(u64::MAX));
        for odd in [
            "",
            "0",
            "0-",
            "-1",
            "0--1",
            "0-0",
            "1-99",
            "00-99",
            "0-+99",
            "0-9,12-14",
            "0-99/100",
            "0 - 99",
            "0-0x63",
            "bytes 0-99",
            "bytes=bytes=0-99",
            "chunks=0-99",
            "0-18446744073709551615",
            "0-18446744073709551616",
            "0-99999999999999999999999999",
            "0-９９",
        ] {
            let header = http::HeaderValue::from_bytes(odd.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(RANGE, header)]);
            assert_eq!(held(&headers), None, "{odd}");
        }
        assert_eq!(said(&["0-99", "0-99"]), None);
        assert_eq!(said(&[]), None);
    }
}
