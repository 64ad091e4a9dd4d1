//! Blobs: what they are, whole or in part, and their deletion.

use std::ops::Range;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use crate::layout::RepositoryPath;
use crate::oci::Digest;

use super::answer::{Answer, Code, Refusal, stream};
use super::{Registry, is_known};

impl Registry {
    pub(super) async fn get_blob(
        &self,
        method: &Method,
        headers: &HeaderMap,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Answer, Refusal> {
        let unknown = || {
            Refusal::new(
                Code::BlobUnknown,
                format_args!("`{repository}` has no blob `{digest}`"),
            )
        };
        if !self.catalog().has_blob(repository, digest) {
            return Err(unknown());
        }
        let blob = self.layout.blob(digest).await?.ok_or_else(unknown)?;
        let size = blob.size();
        let answer = |status| {
            Answer::new(status)
                .digest(digest)
                .header(header::ETAG, format_args!("\"{digest}\""))
                .header(header::ACCEPT_RANGES, "bytes")
        };
        if is_known(headers, digest) {
            return Ok(answer(StatusCode::NOT_MODIFIED));
        }
        let (answer, range) = match asked_range(headers, digest, size) {
            Asked::Whole => (answer(StatusCode::OK), 0..size),
            Asked::Part(range) => {
                let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let part = answer(StatusCode::PARTIAL_CONTENT);
                (part.header(header::CONTENT_RANGE, shown), range)
            }
            Asked::Nothing => {
                let refusal = Refusal::new(Code::RangeInvalid, "the blob ends before that range");
                return Err(refusal.header(header::CONTENT_RANGE, format_args!("bytes */{size}")));
            }
        };
        let answer = answer
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, range.end - range.start);
        Ok(if method == Method::HEAD {
            answer
        } else {
            answer.body(stream(blob.stream(range)))
        })
    }

    /// Takes a blob out of a repository, and off the disk where no other one has it.
    pub(super) fn delete_blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Answer, Refusal> {
        // Decided and done under one lock: a push that links it afterwards looks whether it is
        // still there.
        let mut catalog = self.catalog();
        if !catalog.unlink(repository, digest) {
            return Err(Refusal::new(
                Code::BlobUnknown,
                format_args!("`{repository}` has no blob `{digest}`"),
            ));
        }
        if !catalog.is_held(digest) {
            self.layout.remove_blob(digest)?;
        }
        Ok(Answer::new(StatusCode::ACCEPTED).digest(digest))
    }
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Whole,
    Part(Range<u64>),
    /// It lies behind the end.
    Nothing,
}

/// Reads `Range` and `If-Range` (RFC 9110, section 14). Units, several ranges and forms that are
/// not understood mean the whole, as the RFC allows.
pub(super) fn asked_range(headers: &HeaderMap, digest: &Digest, size: u64) -> Asked {
    let Some(range) = text(headers, header::RANGE) else {
        return Asked::Whole;
    };
    if text(headers, header::IF_RANGE).is_some_and(|tag| tag != format!("\"{digest}\"")) {
        return Asked::Whole;
    }
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse())
    };
    let range = match (first, last) {
        ("", last) => match number(last) {
            Some(Ok(count)) => size.saturating_sub(count)..size,
            // More than any number is more than the blob has.
            Some(Err(_)) if !last.is_empty() => 0..size,
            Some(Err(_)) | None => return Asked::Whole,
        },
        (first, last) => {
            let start: u64 = match number(first) {
                Some(Ok(start)) => start,
                Some(Err(_)) => return Asked::Nothing,
                None => return Asked::Whole,
            };
            let end = match number(last) {
                Some(Ok(last)) if last < start => return Asked::Whole,
                Some(Ok(last)) => last.saturating_add(1).min(size),
                Some(Err(_)) => size,
                None => return Asked::Whole,
            };
            start..end
        }
    };
    if range.start >= range.end {
        return Asked::Nothing;
    }
    Asked::Part(range)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let digest = Digest::sha256(b"");
        for (range, size, expected) in [
            ("bytes=0-", 10, Asked::Part(0..10)),
            ("bytes=3-", 10, Asked::Part(3..10)),
            ("bytes=3-3", 10, Asked::Part(3..4)),
            ("bytes=3-99", 10, Asked::Part(3..10)),
            ("bytes=3-99999999999999999999999", 10, Asked::Part(3..10)),
            ("bytes=3-18446744073709551615", 10, Asked::Part(3..10)),
            ("bytes=-4", 10, Asked::Part(6..10)),
            ("bytes=-40", 10, Asked::Part(0..10)),
            ("bytes=-0", 10, Asked::Nothing),
            ("bytes=10-", 10, Asked::Nothing),
            ("bytes=0-", 0, Asked::Nothing),
            ("bytes=99999999999999999999999-", 10, Asked::Nothing),
            ("bytes=4-3", 10, Asked::Whole),
            ("bytes=-", 10, Asked::Whole),
            ("bytes=a-b", 10, Asked::Whole),
            ("bytes=0-1,3-4", 10, Asked::Whole),
            ("lines=0-1", 10, Asked::Whole),
            ("bytes=+1-2", 10, Asked::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(range));
            assert_eq!(asked_range(&headers, &digest, size), expected, "{range}");
        }
    }
}
