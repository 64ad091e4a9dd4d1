//! The shape of certificates and timestamps in DER, looked at before anybody decodes them.
//!
//! The decoder sorts each `SET OF` by insertion: one of 32,000 elements, 256 KB, takes it 20 seconds, and one that fills
//! a bundle hours, before any signature is verified.

use crate::limits::signature::{DER_BYTES_MAX, DER_DEPTH_MAX, DER_SET_MAX};

use super::super::Refusal;
use super::claims::refused;

const SEQUENCE: u8 = 0x30;
/// What extensions and what a timestamp says are wrapped in: more DER, as a rule.
const OCTET_STRING: u8 = 0x04;
/// The bit of a tag that says that there are elements in it.
const CONSTRUCTED: u8 = 0x20;

/// Refuses what is larger than anything that is known, or has a set that would take long to sort.
pub(in crate::sigstore) fn check(what: &str, der: &[u8]) -> Result<(), Refusal> {
    if der.len() > DER_BYTES_MAX {
        let what = format!("a {what} has more than {DER_BYTES_MAX} bytes");
        return Err(refused(&what));
    }
    if is_small(der) {
        Ok(())
    } else {
        Err(refused(&format!(
            "a {what} has a set of more than {DER_SET_MAX} elements, or nests too deeply"
        )))
    }
}

/// Whether all sets are small. What is no DER is for the decoder to refuse: it reads no further than this.
fn is_small(der: &[u8]) -> bool {
    let mut open = vec![(der, 0_usize)];
    while let Some((mut rest, depth)) = open.pop() {
        if depth > DER_DEPTH_MAX {
            return false;
        }
        while let Some((tag, content, behind)) = element(rest) {
            rest = behind;
            let is_wrapped = tag == OCTET_STRING && content.first() == Some(&SEQUENCE);
            if tag & CONSTRUCTED == 0 && !is_wrapped {
                continue;
            }
            // Tags of a context may stand for sets.
            if tag != SEQUENCE && !is_wrapped && count(content) > DER_SET_MAX {
                return false;
            }
            open.push((content, depth + 1));
        }
    }
    true
}

fn count(mut content: &[u8]) -> usize {
    let mut count = 0;
    while let Some((_, _, behind)) = element(content) {
        content = behind;
        count += 1;
    }
    count
}

/// The first element: its tag, its content, and what is behind it. Tags of several bytes are none that either has.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        let length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, rest)
    };
    // One that is cut is looked at as far as it is there.
    let (content, behind) = rest.split_at(length.min(rest.len()));
    Some((*tag, content, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of up to 64 KiB.
    fn with(tag: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    }

    #[test]
    fn large_sets_are_refused_wherever_they_stand() {
        let items = |count: usize| [5, 0].repeat(count);
        for tag in [0x31, 0xa0, 0xa1] {
            assert!(is_small(&with(SEQUENCE, &with(tag, &items(DER_SET_MAX)))));
            let large = with(
                SEQUENCE,
                &with(SEQUENCE, &with(tag, &items(DER_SET_MAX + 2))),
            );
            assert!(!is_small(&large), "{tag}");
            // One that ends too early would be sorted too.
            assert!(!is_small(large.split_last().unwrap().1), "{tag}");
        }
        assert!(is_small(&with(SEQUENCE, &items(1000))));
        // A name in an extension, or in what a clock says.
        let name = |count| with(SEQUENCE, &with(0x31, &items(count)));
        assert!(is_small(&with(OCTET_STRING, &name(DER_SET_MAX))));
        assert!(!is_small(&with(OCTET_STRING, &name(DER_SET_MAX + 1))));
        let deep = (0..DER_DEPTH_MAX).fold(Vec::new(), |inner, _| with(SEQUENCE, &inner));
        assert!(is_small(&deep));
        assert!(!is_small(&with(SEQUENCE, &deep)));
        assert!(check("certificate", &vec![0; DER_BYTES_MAX + 1]).is_err());
    }
}
