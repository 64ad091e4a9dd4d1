//! Digests: the identity of bytes (OCI image specification 1.1, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use sha2::Digest as _;

use super::{Error, Reason};

/// A registered digest algorithm (OCI image specification 1.1, "Registered algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the one every registry speaks.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name used before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of the digest, in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// As many hexadecimal digits as the longest digest has.
const DIGITS_MAX: usize = 128;

/// The digest of some bytes: algorithm and value, both certain.
///
/// Upper-case digits, a wrong length and unknown algorithms are refused when parsed, so that a
/// digest can stand in a path or a URL as it is (CVE-2024-3727 was the lack of this).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    // Shorter algorithms leave the rest zero, so that derived equality and order hold.
    value: [u8; 64],
}

impl Digest {
    /// The digest of `bytes` by SHA-256.
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(bytes);
        digester.finish()
    }

    /// The digest of `bytes` by the algorithm of `self`, for comparison with `self`.
    #[must_use]
    pub fn of_same_kind(&self, bytes: &[u8]) -> Self {
        let mut digester = Digester::new(self.algorithm);
        digester.update(bytes);
        digester.finish()
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value: as many bytes as its algorithm makes.
    pub fn value(&self) -> &[u8] {
        self.value.get(..self.algorithm.bytes()).unwrap_or_default()
    }

    /// The value in lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        let mut digits = [0; DIGITS_MAX];
        self.digits(&mut digits).to_owned()
    }

    /// The same, written into `digits`.
    fn digits<'a>(&self, digits: &'a mut [u8; DIGITS_MAX]) -> &'a str {
        let digit = |nibble: u8| match nibble {
            0..=9 => b'0' + nibble,
            _ => b'a' + nibble - 10,
        };
        let bytes = self.value.iter().take(self.algorithm.bytes());
        for ([high, low], byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
            *high = digit(byte >> 4);
            *low = digit(byte & 0x0f);
        }
        let digits = digits.get(..2 * self.algorithm.bytes());
        // They are ASCII, and there are as many.
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        text.unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; DIGITS_MAX];
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        f.write_str(self.digits(&mut digits))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a hexadecimal digit, and more than any has of what is none.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => u8::MAX,
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::new("digest", text, Reason::Grammar(reason));
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| fail("it has no `algorithm:` in front"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(fail("only sha256 and sha512 are registered algorithms")),
        };
        if hex.len() != 2 * algorithm.bytes() {
            return Err(fail("its length does not fit its algorithm"));
        }
        let mut value = [0; 64];
        for (slot, pair) in value.iter_mut().zip(hex.as_bytes().as_chunks().0) {
            let [high, low] = pair.map(nibble);
            if high | low > 0x0f {
                return Err(fail("it has other characters than 0-9 and a-f"));
            }
            *slot = high << 4 | low;
        }
        Ok(Self { algorithm, value })
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Computes a digest as bytes pass.
#[derive(Clone)]
pub struct Digester(Inner);

#[derive(Clone)]
enum Inner {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester(..)")
    }
}

impl Digester {
    /// A digester that has seen no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Inner::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Inner::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Sha256(hasher) => hasher.update(bytes),
            Inner::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        let mut value = [0; 64];
        let algorithm = match self.0 {
            Inner::Sha256(hasher) => {
                for (slot, byte) in value.iter_mut().zip(hasher.finalize()) {
                    *slot = byte;
                }
                Algorithm::Sha256
            }
            Inner::Sha512(hasher) => {
                for (slot, byte) in value.iter_mut().zip(hasher.finalize()) {
                    *slot = byte;
                }
                Algorithm::Sha512
            }
        };
        Digest { algorithm, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4 example: the digest of "abc".
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn computes_and_prints_what_it_parses() {
        let digest = Digest::sha256(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(ABC.parse::<Digest>(), Ok(digest));
        let long = {
            let mut d = Digester::new(Algorithm::Sha512);
            d.update(b"a");
            d.update(b"bc");
            d.finish()
        };
        assert_eq!(long.to_string().parse::<Digest>(), Ok(long));
        assert_eq!(long.of_same_kind(b"abc"), long);
        assert_ne!(digest.of_same_kind(b"abd"), digest);
    }

    #[test]
    fn hostile_digests_are_refused() {
        let upper = ABC.to_uppercase();
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../etc/passwd",
            "sha256:zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "md5:900150983cd24fb0d6963f7d28e17f72",
            ABC.strip_suffix('d').unwrap(),
            &format!("{ABC}0"),
            upper.as_str(),
            " sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
