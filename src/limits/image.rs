//! What an image, a name of one, or a layout may be.

/// The longest host name, in bytes (RFC 1035, section 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;

/// The longest path of a repository, in bytes (OCI distribution specification 1.1, "Pulling manifests":
/// many clients bound it with the host in front).
pub const REPOSITORY_BYTES_MAX: usize = 255;

/// The longest tag, in bytes (same section).
pub const TAG_BYTES_MAX: usize = 128;

/// The largest blob size that is believed, in bytes.
///
/// No registry stores more in one object (ECR: 52,000 MiB); a larger number is an attack on whoever
/// allocates by it (GHSA-f36w-mj3v-6jqv). Blobs are never held whole, whatever they have.
pub const BLOB_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024 * 1024;

/// The largest manifest or index that is read, pushed or served, in bytes.
///
/// What containers/image reads and zot accepts; OCI distribution specification 1.1, "Pushing Manifests",
/// asks registries for at least that. Real ones have some KiB, the largest indexes known some 100.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most values of one document: objects, lists, texts, numbers.
///
/// What is made of a value takes up to 100 bytes of memory, however short it is in the document. As many as
/// 10,000 signatures with all their annotations have; the largest indexes known have some thousands.
pub const DOCUMENT_VALUES_MAX: usize = 120_000;

/// The most fields of a document, and of a descriptor or a platform in it: each name is kept until the last was
/// read, for none may stand there twice. Real ones have some ten. (Annotations are not counted here.)
pub const OBJECT_FIELDS_MAX: usize = 1000;

/// How deep a document may nest where it is decoded, in levels, which is what `serde_json` goes down to. What
/// is only passed over, or copied, may be deeper.
pub const JSON_DEPTH_MAX: usize = 127;

/// The largest image config that is read for its platform, in bytes: as large as a manifest may be. Real ones
/// have under 100 KiB; they grow with the history of the image.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How deep indexes may name indexes, in levels below the image. Real images have one, some artifacts
/// two (cosign pull request 320), and a digest cannot name itself, so this is no question of circles.
pub const INDEX_DEPTH_MAX: usize = 4;

/// The most manifests that one image is copied with, those of all its indexes together. The largest
/// known have some dozens.
pub const IMAGE_MANIFESTS_MAX: u64 = 10_000;

/// The most manifests that an index may name that is signed or validated, for the same reason.
pub const INDEX_ENTRIES_MAX: usize = 10_000;

/// The largest root index of a layout that is read or written, in bytes: some 200,000 entries.
pub const LAYOUT_ROOT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest `oci-layout` file that is read, in bytes; it has one short field (OCI image specification
/// 1.1, image-layout.md).
pub const LAYOUT_MARKER_BYTES_MAX: u64 = 64 * 1024;
