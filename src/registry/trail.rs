//! The trail of a blob: how much of it was hashed and handed on, and from where it can be read again.
//!
//! A destination that breaks may keep the first bytes that it got, and want the others alone. The source is
//! then read a second time, and still nothing may complete under a digest that was not computed over exactly
//! the bytes that the destination has, part of them from the first reading. That holds, because
//!
//! - the state of the digest is kept at *marks*, a few MiB apart, and the second reading goes on from the last
//!   mark at or before what the destination has: what lies before it is hashed as it was sent;
//! - from there to what the destination has, the second reading is hashed although the first one was sent.
//!   That both are the same is *proven*: the first state that is known at or behind that place is kept, and
//!   the second reading must come to the same digest there, which is before its last piece is handed on. Where
//!   the first reading is known to its end, it had the digest of the whole already, as the second must have;
//! - a trail that was left takes nothing in any more, so that the first reading hands nothing on that its
//!   known states do not cover.
//!
//! A proof that a second reading did not reach goes over to the third one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::oci::{Algorithm, Digest, Digester};

/// How far marks are apart, in bytes: at most so much is read twice where one is near. A mark costs the copy of
/// a state of 240 bytes, and the hashing of 4 MiB some 4 ms: 1 GiB took as long with marks as without (measured).
const MARK_BYTES: u64 = 4 * 1024 * 1024;
/// Marks at most, the oldest is given up first: 256 MiB back and 16 KB for each relay. What lies between a
/// sender and a destination that counts are the buffers of both, some 10 MiB; where it is more, the source is
/// read from its beginning.
const MARKS_MAX: usize = 64;
/// Proofs at most that one reading has to give; a destination that comes to more has broken off so often in
/// so few bytes that it gets a new session.
const PROOFS_MAX: usize = 8;

/// Why a piece is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// Another reading has taken over.
    Left,
    /// The source gave other bytes than the first time.
    Changed,
}

/// The trail of one reading.
pub(super) struct Trail(Mutex<Inner>);

struct Inner {
    now: State,
    /// Bytes at the front that were handed on, here or in a reading before.
    passed: u64,
    is_verified: bool,
    halt: Option<Halt>,
    /// Bytes of them from a reading before.
    begun_with: u64,
    /// Where this reading began.
    start: State,
    /// How far marks are apart, in bytes.
    every: u64,
    marks: VecDeque<State>,
    /// What this reading must come to, in order.
    proofs: VecDeque<(u64, Digest)>,
}

/// The digest of all bytes before `offset`, to be gone on with.
#[derive(Clone)]
struct State {
    offset: u64,
    digester: Digester,
}

impl State {
    fn take_in(&mut self, bytes: &[u8]) {
        self.digester.update(bytes);
        self.offset += length(bytes);
    }

    fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }
}

impl Inner {
    fn new(start: State, every: u64, passed: u64, proofs: VecDeque<(u64, Digest)>) -> Self {
        Self {
            now: start.clone(),
            passed,
            begun_with: passed,
            is_verified: false,
            halt: None,
            start,
            every,
            marks: VecDeque::new(),
            proofs,
        }
    }
}

impl Trail {
    /// The trail of a first reading.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self::with_marks(algorithm, MARK_BYTES)
    }

    fn with_marks(algorithm: Algorithm, every: u64) -> Self {
        let start = State {
            offset: 0,
            digester: Digester::new(algorithm),
        };
        Self(Mutex::new(Inner::new(start, every, 0, VecDeque::new())))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this reading begins, in bytes from the beginning of the blob.
    pub(super) fn start(&self) -> u64 {
        self.inner().start.offset
    }

    /// How many bytes were handed on, those of readings before included.
    pub(super) fn passed(&self) -> u64 {
        self.inner().passed
    }

    /// How many bytes the destination had when this reading began.
    pub(super) fn begun_with(&self) -> u64 {
        self.inner().begun_with
    }

    /// Why this reading is over, if it is.
    pub(super) fn halt(&self) -> Option<Halt> {
        self.inner().halt
    }

    /// Whether all bytes have come and fit.
    pub(super) fn is_verified(&self) -> bool {
        self.inner().is_verified
    }

    /// Hashes the next piece.
    ///
    /// # Errors
    ///
    /// When this reading is over; the piece must not be handed on.
    pub(super) fn take_in(&self, mut piece: &[u8]) -> Result<(), Halt> {
        let mut inner = self.inner();
        if let Some(halt) = inner.halt {
            return Err(halt);
        }
        while let Some((place, digest)) = inner.proofs.front().copied() {
            let left = place.saturating_sub(inner.now.offset);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let Some((before, behind)) = piece.split_at_checked(left) else {
                break;
            };
            inner.now.take_in(before);
            piece = behind;
            if inner.now.digest() != digest {
                inner.halt = Some(Halt::Changed);
                return Err(Halt::Changed);
            }
            inner.proofs.pop_front();
        }
        inner.now.take_in(piece);
        let last = inner.marks.back().unwrap_or(&inner.start).offset;
        if inner.now.offset >= last + inner.every {
            if inner.marks.len() >= MARKS_MAX {
                inner.marks.pop_front();
            }
            let mark = inner.now.clone();
            inner.marks.push_back(mark);
        }
        Ok(())
    }

    /// Counts a piece that is handed on.
    pub(super) fn hand_on(&self, piece: &[u8]) {
        self.inner().passed += length(piece);
    }

    /// Compares the digest of all bytes with `asked`.
    ///
    /// # Errors
    ///
    /// With the digest that they have.
    pub(super) fn finish(&self, asked: &Digest) -> Result<(), Digest> {
        let mut inner = self.inner();
        let computed = inner.now.digest();
        inner.is_verified = computed == *asked;
        if inner.is_verified {
            Ok(())
        } else {
            Err(computed)
        }
    }

    /// Ends this reading: whoever still reads gets no further.
    pub(super) fn leave(&self) {
        self.inner().halt.get_or_insert(Halt::Left);
    }

    /// The trail of a second reading for a destination that has the first `held` bytes; `None` where it cannot
    /// have them, or where too much would have to be proven. This reading is left with it.
    pub(super) fn again(&self, held: u64) -> Option<Self> {
        self.leave();
        let inner = self.inner();
        if held > inner.passed {
            return None;
        }
        let before = |state: &&State| state.offset <= held;
        let start = inner.marks.iter().rev().find(before);
        let start = start.or_else(|| Some(&inner.start).filter(before))?;
        let mut proofs = inner.proofs.clone();
        if start.offset < held {
            let mut known = inner.marks.iter().chain([&inner.now]);
            let known = known.find(|state| state.offset >= held)?;
            let at = proofs.partition_point(|(place, _)| *place < known.offset);
            proofs.insert(at, (known.offset, known.digest()));
        }
        let inner = Inner::new(start.clone(), inner.every, held, proofs);
        (inner.proofs.len() <= PROOFS_MAX).then(|| Self(Mutex::new(inner)))
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        f.debug_struct("Trail")
            .field("offset", &inner.now.offset)
            .field("passed", &inner.passed)
            .field("halt", &inner.halt)
            .finish_non_exhaustive()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::{Buf as _, Bytes};

    use super::*;

    const SIZE: usize = 20_000;
    const EVERY: u64 = 1000;

    fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut noise = vec![0; SIZE];
        random.fill(&mut noise);
        noise
    }

    /// What becomes of a reading.
    enum End {
        Broken,
        Changed,
        Refused,
        Complete,
    }

    /// Reads `source` along `trail`, as a reader of blobs does, and appends to `there` what it hands on: to the
    /// end, or until it breaks somewhere.
    fn read(
        trail: &Trail,
        (source, asked): (&[u8], &Digest),
        there: &mut Vec<u8>,
        random: &mut fastrand::Rng,
    ) -> End {
        let first = usize::try_from(trail.passed()).unwrap();
        let mut offset = usize::try_from(trail.start()).unwrap();
        let mut withheld = Bytes::new();
        let stop = random.usize(offset..SIZE * 3 / 2);
        while offset < SIZE {
            if offset >= stop {
                return End::Broken;
            }
            let end = (offset + random.usize(1..700)).min(SIZE);
            let mut piece = Bytes::copy_from_slice(&source[offset..end]);
            if trail.take_in(&piece).is_err() {
                return End::Changed;
            }
            piece.advance(first.saturating_sub(offset).min(piece.len()));
            offset = end;
            if !piece.is_empty() {
                let ready = std::mem::replace(&mut withheld, piece);
                trail.hand_on(&ready);
                there.extend_from_slice(&ready);
            }
        }
        if trail.finish(asked).is_err() {
            return End::Refused;
        }
        trail.hand_on(&withheld);
        there.extend_from_slice(&withheld);
        End::Complete
    }

    /// Breaks a blob again and again, with a source that gives other bytes now and then, and a destination that
    /// keeps any part. Says how often it was complete, and how often something was found out.
    fn rounds(seed: u64, lies: bool) -> (usize, usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut complete, mut found) = (0, 0);
        for _ in 0..300 {
            let blob = noise(&mut random);
            let asked = Digest::sha256(&blob);
            let mut there = Vec::new();
            let mut trail = Trail::with_marks(Algorithm::Sha256, EVERY);
            for _ in 0..20 {
                let mut source = blob.clone();
                if lies && random.bool() {
                    source[random.usize(..SIZE)] ^= 1;
                }
                match read(&trail, (&source, &asked), &mut there, &mut random) {
                    End::Complete => {
                        assert!(there == blob, "wrong bytes are complete");
                        complete += 1;
                        break;
                    }
                    End::Changed | End::Refused => {
                        found += 1;
                        break;
                    }
                    End::Broken => {}
                }
                let kept = usize::try_from(trail.begun_with()).unwrap();
                let held = random.usize(kept..=there.len());
                there.truncate(held);
                let held = u64::try_from(held).unwrap();
                let Some(next) = trail.again(held) else { break };
                assert!(next.start() <= held && held - next.start() <= EVERY + 700);
                assert_eq!(trail.take_in(b"late"), Err(Halt::Left));
                trail = next;
            }
        }
        (complete, found)
    }

    #[test]
    fn a_blob_that_is_read_in_parts_is_complete_with_its_own_bytes_alone() {
        for seed in 0..4 {
            let (complete, found) = rounds(seed, false);
            assert!(complete > 250 && found == 0, "{complete} {found}");
            let (complete, found) = rounds(seed, true);
            assert!(complete > 20 && found > 100, "{complete} {found}");
        }
    }

    /// The bytes that a second reading passes over are those that the destination was sent.
    #[test]
    fn a_change_in_what_is_read_twice_is_found_out() {
        let blob = noise(&mut fastrand::Rng::with_seed(1));
        let mut wrong = blob.clone();
        wrong[2500] ^= 1;
        let trail = Trail::with_marks(Algorithm::Sha256, EVERY);
        // The destination got wrong bytes; the source gives the right ones from now on.
        for piece in wrong[..2600].chunks(100) {
            trail.take_in(piece).unwrap();
            trail.hand_on(piece);
        }
        let again = trail.again(2550).unwrap();
        assert_eq!((again.start(), again.passed()), (2000, 2550));
        let mut pieces = blob[2000..].chunks(150);
        let halt = pieces.find_map(|piece| again.take_in(piece).err());
        assert_eq!(halt, Some(Halt::Changed));
    }

    #[test]
    fn no_more_is_believed_than_was_handed_on() {
        let trail = Trail::new(Algorithm::Sha512);
        trail.take_in(&[0; 100]).unwrap();
        trail.hand_on(&[0; 60]);
        assert!(trail.again(61).is_none());
        assert!(trail.again(u64::MAX).is_none());
        let again = trail.again(60).unwrap();
        assert_eq!((again.start(), again.passed()), (0, 60));
    }

    #[test]
    fn marks_are_few_however_large_the_blob_is() {
        let trail = Trail::with_marks(Algorithm::Sha256, 10);
        for _ in 0..100_000 {
            trail.take_in(&[0; 7]).unwrap();
        }
        assert_eq!(trail.inner().marks.len(), MARKS_MAX);
        trail.hand_on(&vec![0; 700_000]);
        assert_eq!(trail.again(699_999).unwrap().start(), 699_986);
        // Behind all marks, the beginning is left.
        assert_eq!(trail.again(1000).unwrap().start(), 0);
    }
}
