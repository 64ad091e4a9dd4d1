//! What clients may send to `serve`, and what the layout behind it may be.

use super::image::MANIFEST_BYTES_MAX;

/// How many connections are served at once; each may hold a socket and a file, and a process has 1024 of
/// them by default. Others wait.
pub const CONNECTIONS_MAX: usize = 400;

/// How many uploads may be open at once; each may hold a file open.
pub const UPLOADS_MAX: usize = 256;

/// The longest path of a request, in bytes: a repository of 255, a digest of 135, the words between them,
/// and room for percent-encoding.
pub const REQUEST_PATH_BYTES_MAX: usize = 2048;

/// How much of a manifest that is too large is still read, in bytes: a client that is cut off while it
/// sends does not see the answer. What is read beyond the limit is not kept.
pub const EXCESS_BYTES_MAX: usize = 16 * MANIFEST_BYTES_MAX;

/// How deep indexes of a layout may name indexes. The specification sets no bound; no known builder goes
/// deeper than two.
pub const SERVED_DEPTH_MAX: usize = 8;

/// How many manifests of a layout are served: beyond it, the rest is not.
pub const SERVED_MANIFESTS_MAX: usize = 1_000_000;
