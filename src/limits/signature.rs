//! What signatures, certificates and keys may be.

/// The most signatures, or referrers, of one manifest. What has as many is not searched, and the verdict
/// is "undetermined" unless another place has a good one (CVE-2023-46737, CVE-2023-33957).
pub const SIGNATURES_MAX: usize = 10_000;

/// The longest signature, in bytes; RSA of 8192 bits makes 1024.
pub const SIGNATURE_BYTES_MAX: usize = 4 * 1024;

/// The largest simple-signing payload, in bytes. Real ones have 250 and their annotations
/// (CVE-2024-29902 was a payload that was read whatever its size).
pub const PAYLOAD_BYTES_MAX: u64 = 128 * 1024;

/// The largest Sigstore bundle, in bytes. Those of images have some 10 KiB; attestations may carry an
/// SBOM, and what is larger than a manifest may be is not looked for a signature.
pub const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The largest key file, in bytes. RSA of 8192 bits takes 10 KiB.
pub const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The largest annotation with a certificate, a chain, a log entry or a timestamp, in bytes. Real ones
/// have under 10 KiB.
pub const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// How many certificates one PEM text or chain may have. The longest chain that is known has four.
pub const CERTIFICATES_MAX: usize = 16;

/// How many log entries, and how many timestamps, one signature may bring: as many as the verifier in Go
/// reads (CVE-2024-45395); each costs two and more public-key operations.
pub const PROOFS_MAX: usize = 32;

/// How many signatures a checkpoint may have: as many as Go's reader of signed notes takes. Each that
/// names a key of the log is verified until one is good, and 150,000 of them fit into a bundle.
pub const CHECKPOINT_SIGNATURES_MAX: usize = 100;

/// The largest certificate or timestamp, in bytes. Those of Fulcio have under 4 KiB, and timestamps with
/// the whole chain of their authority under 12.
pub const DER_BYTES_MAX: usize = 32 * 1024;

/// How many elements a set in one may have: the decoder sorts them in quadratic time. Names have one or
/// two in each, and signed attributes are six.
pub const DER_SET_MAX: usize = 32;

/// How deeply all in one may nest; certificates have about ten levels.
pub const DER_DEPTH_MAX: usize = 32;

/// The longest claim of a certificate that is kept, in bytes: those that are longer are passed over.
pub const CLAIM_BYTES_MAX: usize = 4096;

/// How many claims of a certificate are kept. Fulcio knows 24.
pub const CLAIMS_MAX: usize = 48;

/// The largest trusted root, in bytes. The public instance's has 7 KiB, GitHub's 31.
pub const TRUSTED_ROOT_BYTES_MAX: u64 = 1024 * 1024;

/// The largest signing config, in bytes; that of the public instance has 2 KiB.
pub const SIGNING_CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The longest identity token, in bytes. Those of GitLab and GitHub have some 2 KiB, and servers take
/// 8 KiB for all headers together.
pub const IDENTITY_TOKEN_BYTES_MAX: usize = 32 * 1024;

/// The longest name that is taken from an identity token, in bytes: an address or a URL.
pub const IDENTITY_NAME_BYTES_MAX: usize = 2048;

/// The most certificates that an authority may issue as one chain; Fulcio's have three.
pub const ISSUED_CHAIN_MAX: usize = 10;

/// The largest certificate that an authority may issue, in bytes; the decoder takes long for larger ones
/// that are made for it.
pub const ISSUED_CERTIFICATE_BYTES_MAX: usize = 32 * 1024;

/// The longest name of a log entry, in bytes: the number of a tree and a SHA-256, in hex.
pub const LOG_ENTRY_NAME_BYTES_MAX: usize = 80;
