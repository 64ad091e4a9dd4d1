//! PEM as key files have it (RFC 7468): one block, its body any number of lines, LF or CRLF.
//!
//! Blanks at line ends and around the block are forgiven, for editors make them; a second block, text
//! beside the block and headers inside it are not.

use secrecy::zeroize::Zeroizing;

use crate::limits::signature::KEY_FILE_BYTES_MAX;
use crate::text::cleaned;

use super::super::{from_base64, to_base64};
use super::KeyError;

/// The label of a public key.
pub(super) const PUBLIC: &str = "PUBLIC KEY";
/// The label of an encrypted private key, as cosign 2 and 3 write it.
pub(super) const SEALED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The same, as cosign 1, Hangar and skopeo write it.
pub(super) const SEALED_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// Labels of private keys that are encrypted not at all, or in another tool's way. The parameters are
/// what openssl writes above a private key.
const NOT_ENCRYPTED: [&str; 7] = [
    "PRIVATE KEY",
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "DSA PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "EC PARAMETERS",
];

/// The length of a written line, in characters.
const LINE_CHARS: usize = 64;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A block. Its bytes are erased when it is dropped: they may be a secret.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl<'a> Block<'a> {
    /// Reads the one block that `pem` is.
    pub(super) fn parse(pem: &'a [u8]) -> Result<Self, KeyError> {
        if u64::try_from(pem.len()).is_ok_and(|length| length > KEY_FILE_BYTES_MAX) {
            return Err(form("it has more than 64 KiB, which no key file has"));
        }
        let no_pem = || form("it is no PEM file");
        let text = std::str::from_utf8(pem).map_err(|_| no_pem())?;
        let mut lines = text.trim_ascii().lines().map(str::trim_ascii_end);
        let label = lines
            .next()
            .and_then(|line| line.strip_prefix(BEGIN)?.strip_suffix(DASHES))
            .ok_or_else(no_pem)?;
        // Where the line ends are lost, the key itself stands in the first line.
        if !label
            .bytes()
            .all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b' '))
        {
            return Err(form(
                "it is no PEM file: its first line is not `-----BEGIN …-----` alone; its line ends may be lost",
            ));
        }
        // What is refused by its label is refused so, whatever it looks like inside.
        if ![PUBLIC, SEALED, SEALED_OLD].contains(&label) {
            return Err(refusal(label));
        }
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        let end = loop {
            let line = lines
                .next()
                .ok_or_else(|| form("its PEM block has no end"))?;
            if let Some(end) = line.strip_prefix(END) {
                break end;
            }
            body.push_str(line);
        };
        if end.strip_suffix(DASHES) != Some(label) {
            return Err(form("its PEM block ends with another label"));
        }
        if lines.next().is_some() {
            return Err(form("there is something after its PEM block"));
        }
        let bytes = from_base64(&body).ok_or_else(|| form("its PEM block is not base64"))?;
        Ok(Self {
            label,
            bytes: Zeroizing::new(bytes),
        })
    }
}

/// Why a block of this label is none of ours.
pub(super) fn refusal(label: &str) -> KeyError {
    if let Some(label) = NOT_ENCRYPTED.iter().find(|other| **other == label) {
        return KeyError::NotEncrypted(label);
    }
    if label.ends_with("CERTIFICATE") {
        return form("it is a certificate, and verifying by certificates is not there yet");
    }
    let label = cleaned(label, 60);
    form(&format!(
        "it is a `{label}`, which is no key file of cosign and no `{PUBLIC}`"
    ))
}

/// Writes a block, with LF line ends.
pub(super) fn write(label: &str, bytes: &[u8]) -> String {
    let body = Zeroizing::new(to_base64(bytes));
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    for (position, character) in body.chars().enumerate() {
        if position != 0 && position % LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(END);
    text.push_str(label);
    text.push_str(DASHES);
    text.push('\n');
    text
}

pub(super) fn form(what: &str) -> KeyError {
    KeyError::Form(what.to_owned())
}
