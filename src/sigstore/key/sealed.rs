//! cosign's encrypted private keys: JSON in PEM; scrypt makes the key of a secretbox around PKCS#8.
//!
//! The format is that of `encrypted` in go-securesystemslib, which cosign, skopeo and Hangar share.

use std::fmt;

use aws_lc_rs::rand;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use scrypt::Params;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use super::super::{from_base64, to_base64};
use super::pem::{self, form};
use super::{KeyError, Passphrase, PrivateKey};
use crate::text::cleaned;

const SCRYPT: &str = "scrypt";
const SECRETBOX: &str = "nacl/secretbox";

/// The costs that cosign and skopeo accept, by their logarithm: with `r` = 8 they take 32, 64 and 128 MiB.
/// Others are never run: a file would decide how much memory and time it takes.
const COSTS: [(u64, u8); 3] = [(1 << 15, 15), (1 << 16, 16), (1 << 17, 17)];
/// The cost that is written, which is cosign's.
const COST: (u64, u8) = (1 << 16, 16);
const R: u32 = 8;
const P: u32 = 1;

const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// An encrypted private key, as cosign writes it.
///
/// That it is well-formed is known; what is inside is not, and its kind and public half neither,
/// before it is opened.
#[derive(Clone)]
pub struct SealedKey {
    log_n: u8,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKey(***)")
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl SealedKey {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, KeyError> {
        let wrong = |what: &str| {
            form(&format!(
                "its encryption is not as cosign writes it: {what}"
            ))
        };
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| wrong(&cleaned(&error.to_string(), 120)))?;
        let Kdf { name, params, salt } = document.kdf;
        if name != SCRYPT {
            return Err(wrong(&format!("`{}` for `{SCRYPT}`", cleaned(&name, 40))));
        }
        let Cost { n, r, p } = params;
        let known = COSTS.iter().find(|(cost, _)| *cost == n);
        let (Some((_, log_n)), true, true) = (known, r == u64::from(R), p == u64::from(P)) else {
            return Err(form(&format!(
                "unsupported scrypt parameters: N={n}, r={r}, p={p}"
            )));
        };
        let Cipher { name, nonce } = document.cipher;
        if name != SECRETBOX {
            return Err(wrong(&format!(
                "`{}` for `{SECRETBOX}`",
                cleaned(&name, 40)
            )));
        }
        let bytes = |text: &str, what: &str| {
            from_base64(text).ok_or_else(|| wrong(&format!("the {what} is not base64")))
        };
        let length = |what: &str| wrong(&format!("the {what} has a wrong length"));
        Ok(Self {
            log_n: *log_n,
            salt: <[u8; SALT_BYTES]>::try_from(bytes(&salt, "salt")?)
                .map_err(|_| length("salt"))?,
            nonce: <[u8; NONCE_BYTES]>::try_from(bytes(&nonce, "nonce")?)
                .map_err(|_| length("nonce"))?,
            ciphertext: bytes(&document.ciphertext, "ciphertext")?,
        })
    }

    /// Decrypts, once per run: scrypt takes 32 to 128 MiB and some 100 ms, and does not yield
    /// meanwhile. The key was tried when this returns: it signs, and its public half verifies.
    ///
    /// # Errors
    ///
    /// [`KeyError::Passphrase`] when the passphrase does not open it; a form when what is inside is no
    /// key of a kind that is known.
    pub fn open(&self, passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
        let cipher = cipher(passphrase, &self.salt, self.log_n)?;
        let pkcs8 = cipher
            .decrypt(&self.nonce.into(), self.ciphertext.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Passphrase)?;
        PrivateKey::from_pkcs8(&pkcs8)
    }
}

/// A key file around `pkcs8`, with a salt and a nonce that nobody else has.
pub(super) fn seal(pkcs8: &[u8], passphrase: &Passphrase) -> Result<String, KeyError> {
    let (n, log_n) = COST;
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    let failed = |_| form("there is no randomness");
    rand::fill(&mut salt).map_err(failed)?;
    rand::fill(&mut nonce).map_err(failed)?;
    let ciphertext = cipher(passphrase, &salt, log_n)?
        .encrypt(&nonce.into(), pkcs8)
        .map_err(|_| form("it cannot be encrypted"))?;
    let document = Document {
        kdf: Kdf {
            name: SCRYPT.to_owned(),
            params: Cost {
                n,
                r: R.into(),
                p: P.into(),
            },
            salt: to_base64(&salt),
        },
        cipher: Cipher {
            name: SECRETBOX.to_owned(),
            nonce: to_base64(&nonce),
        },
        ciphertext: to_base64(&ciphertext),
    };
    let json = serde_json::to_vec(&document).map_err(|error| form(&error.to_string()))?;
    Ok(pem::write(pem::SEALED, &json))
}

fn cipher(
    passphrase: &Passphrase,
    salt: &[u8; SALT_BYTES],
    log_n: u8,
) -> Result<XSalsa20Poly1305, KeyError> {
    let failed = || form("the key cannot be derived from the passphrase");
    let params = Params::new(log_n, R, P).map_err(|_| failed())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.expose(), salt, &params, &mut *key).map_err(|_| failed())?;
    XSalsa20Poly1305::new_from_slice(&*key).map_err(|_| failed())
}
