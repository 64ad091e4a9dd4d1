//! What a registry, or what stands in front of one, may answer.

/// How much of an error body or of a token's answer is read, in bytes. Real ones have under 8 KiB. Of a
/// longer error the status alone counts; a longer token is refused.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How much memory documents of registries may take at once, in bytes, with what is made of them: manifests,
/// lists, configs, payloads, bundles. Real ones of hundreds of images have less than a tenth of it. What is
/// small is not counted, as its number is bounded by that of images and requests; what would take more than
/// this by itself takes all of it.
pub const DOCUMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most headers of an answer. It is hyper's own limit for a client, which reqwest has no setting for; the
/// trials see to it that it is still so. (Registries send some 20.)
pub const HEADERS_MAX: usize = 100;

/// The largest head of an answer that is sure to be read, in bytes: hyper's own limit too. (curl reads 300 KiB,
/// Go 1 MiB, and most servers send and take 8 to 16 KiB.)
pub const HEAD_BYTES_MAX: usize = 408 * 1024;

/// The most bytes of trailers behind a body, and of extensions of its chunks: hyper's own too.
pub const CHUNK_EXTRAS_BYTES_MAX: usize = 16 * 1024;

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

/// The most tags of a repository that are kept to be listed. The largest repositories known have some
/// 100,000.
pub const TAGS_MAX: usize = 250_000;

/// The most that they may have together, in bytes; twice as much memory.
pub const TAGS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most tags that are named after manifests, and are known, of all repositories of a run: some 20 bytes
/// of memory each. What is beyond is asked for one by one, as where tags are not listed at all.
pub const KNOWN_TAGS_MAX: usize = 250_000;

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
/// annotations has some 500, so that this is room for the most there may be.
pub const REFERRERS_BYTES_MAX: usize = 6 * 1024 * 1024;

/// How much of an answer of Harbor's own API is read, in bytes; those that are asked for have next to
/// nothing.
pub const HARBOR_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The longest answer of a certificate authority or a transparency log, in bytes; theirs have under
/// 20 KiB.
pub const SERVICE_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The longest answer of a timestamp authority, in bytes; with its chain it has some 5 KiB.
pub const TIMESTAMP_ANSWER_BYTES_MAX: usize = 64 * 1024;
