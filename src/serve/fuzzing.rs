//! What has to hold whatever a client sends.

use http::{HeaderMap, HeaderValue, header};

use super::blobs;
use crate::oci::Digest;

/// A part of a blob is within it, and never empty.
pub(crate) fn range(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, value);
    let digest = Digest::sha256(b"");
    for size in [0, 1, 10, 1 << 32, u64::MAX] {
        if let blobs::Asked::Part(range) = blobs::asked_range(&headers, &digest, size) {
            assert!(range.start < range.end && range.end <= size, "{range:?}");
        }
    }
}
