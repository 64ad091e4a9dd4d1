//! What the cache on disk may hold.

/// The most that the cache has on disk, in bytes: as many entries as it may have, of 2 KiB each. Most have less
/// than one.
pub const CACHE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The most entries of the cache. A list of the most lines, each of two platforms, has 75,000: an index, and of each
/// platform the manifest of its signatures and a payload.
pub const CACHE_ENTRIES_MAX: usize = 262_144;

/// The largest entry of the cache, in bytes. What validation reads has some KiB; a larger one is read from
/// its registry every time.
pub const CACHE_ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// The most tags of which the cache notes what they named last: 45,000 are those of a list of the most lines,
/// each of two platforms. They take some 80 bytes of memory each.
pub const CACHE_TAGS_MAX: usize = 65_536;

/// The largest file of those tags that is read, in bytes: each has at most 153.
pub const CACHE_TAGS_BYTES_MAX: u64 = 10 * 1024 * 1024;
