//! What has to hold whatever a certificate authority or a log answers, and whatever stands in a token.
#![expect(clippy::expect_used, reason = "a broken promise is a finding")]

use jiff::Timestamp;
use secrecy::SecretString;
use sigstore_crypto::KeyPair;
use sigstore_types::KindVersion;

use super::{IdentityToken, certificate, log};

/// A token is not shown, and whom it names can be.
pub(crate) fn identity_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match IdentityToken::parse(&SecretString::from(text)) {
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
        Ok(token) => {
            // Whom it is of is no secret, should it be all that there is.
            let shown = format!("{token:?}");
            assert!(!shown.contains(text.trim()), "{shown}");
            let named = format!("{}{}", token.identity(), token.issuer());
            assert!(!named.contains(char::is_control), "{named:?}");
            let ended = token.expired(Timestamp::UNIX_EPOCH);
            assert!(ended.is_none_or(|at| at <= Timestamp::UNIX_EPOCH));
        }
    }
}

/// A certificate for another key is never taken.
pub(crate) fn certificate_answer(body: &[u8]) {
    let key = KeyPair::generate_ecdsa_p256().expect("a key");
    assert!(certificate::read(body, key, Timestamp::UNIX_EPOCH).is_err());
}

/// An entry is read or refused, and the same each time.
pub(crate) fn log_answer(body: &[u8]) {
    let index = || {
        let entry = log::read(body, KindVersion::HashedRekordV001);
        entry.map(|entry| entry.log_index.get())
    };
    assert_eq!(index(), index());
}
