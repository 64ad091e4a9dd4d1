//! What a registry, or what stands in front of one, may answer.

/// How much of an error body or of a token's answer is read, in bytes. Real ones have under 8 KiB. Of a
/// longer error the status alone counts; a longer token is refused.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How many redirects of one request are followed: an object store needs one, a mirror in front of it
/// two. (curl follows 50, Go 10.)
pub const REDIRECTS_MAX: usize = 5;

/// How often one request may authenticate anew: once to learn the challenge, once for a token that ended
/// too early.
pub const CHALLENGES_MAX: u32 = 2;

/// The most pages of tags that are read of a repository: a registry that never ends its list must not
/// hold up a run. With pages of 1000 that is a million tags.
pub const TAG_PAGES_MAX: usize = 1000;

/// The largest page of tags that is read, in bytes: 1000 of the longest tags have 128 KiB, and some
/// registries send all that they have, whatever they are asked for.
pub const TAG_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most pages of tags that are read to learn which tags of signatures a repository has: 50,000 tags
/// where a registry gives as many a page as it is asked for. Asking for each tag by itself is cheaper
/// beyond that, and is what happens then.
pub const KNOWN_TAG_PAGES_MAX: usize = 50;

/// The most referrers of one manifest that are read (CVE-2023-46737 was the lack of a limit).
pub const REFERRERS_MAX: usize = 10_000;

/// The most pages of referrers that are read, empty ones included. Registries cut at 50 and more.
pub const REFERRER_PAGES_MAX: usize = 500;

/// The largest page of referrers that is read, in bytes: as large as an index may be (OCI distribution
/// specification 1.1, "Listing Referrers": each page is one).
pub const REFERRER_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most that all pages of one list of referrers may have together, in bytes: a descriptor with its
/// annotations has some 500.
pub const REFERRERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much of an answer of Harbor's own API is read, in bytes; those that are asked for have next to
/// nothing.
pub const HARBOR_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The longest answer of a certificate authority or a transparency log, in bytes; theirs have under
/// 20 KiB.
pub const SERVICE_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The longest answer of a timestamp authority, in bytes; with its chain it has some 5 KiB.
pub const TIMESTAMP_ANSWER_BYTES_MAX: usize = 64 * 1024;
