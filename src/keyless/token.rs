//! The identity token: what it says of itself, and when it ends.
//!
//! A token is a JSON Web Token (RFC 7519) that its issuer has signed. Nobody here knows the issuer's key: what
//! is read from it decides what is asked for, and whether asking is of any use. Whether it is believed is the
//! certificate authority's to say.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::limits::signature::{IDENTITY_NAME_BYTES_MAX, IDENTITY_TOKEN_BYTES_MAX};
use crate::text::cleaned;

/// The shortest part of a token that is looked for in answers, in bytes: signatures have 64 and more.
const PART_BYTES_MIN: usize = 16;
/// How much of a name in a token is shown, in characters.
const NAME_CHARS_MAX: usize = 300;

/// Why a text is no token that could be used. None has any of the token in it but the names that go into the
/// certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No three parts, no base64, no JSON.
    #[error("it is no JSON Web Token: {0}")]
    Form(&'static str),
    /// Nothing in it says who it is of.
    #[error("it has no `{0}`, so nobody can be named in a certificate")]
    Nobody(&'static str),
    /// Its issuer does not vouch for the address.
    #[error("its issuer `{issuer}` has not verified the address `{email}`")]
    Unverified {
        /// Who issued it.
        issuer: String,
        /// The address.
        email: String,
    },
    /// It is of somebody else than the run began with.
    #[error("it is of `{other}` now, and the run was begun as `{agreed}`")]
    Other {
        /// Of whom the first one was.
        agreed: String,
        /// Of whom it is.
        other: String,
    },
    /// It could not be had at all; says why.
    #[error("{0}")]
    Unread(String),
}

/// An identity token.
#[derive(Clone)]
pub struct IdentityToken {
    text: SecretString,
    /// The same, and those of its parts that are long enough to be known again.
    secrets: Arc<[SecretString]>,
    issuer: String,
    subject: String,
    /// Whether that is an address.
    is_address: bool,
    expires: Option<Timestamp>,
}

// By hand: it is a secret.
impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityToken")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    email: Option<String>,
    /// Some issuers write it as a string.
    email_verified: Option<Value>,
    /// Seconds since 1970, with a fraction or not (RFC 7519, section 2, numeric dates).
    exp: Option<Value>,
}

impl IdentityToken {
    /// Reads a token; blanks around it are left out.
    ///
    /// Whom it is of is found as cosign and Fulcio find it: the address, where there is one that was verified,
    /// else the subject.
    ///
    /// # Errors
    ///
    /// As [`TokenError`]; one that has ended is none, see [`IdentityToken::expired`].
    pub fn parse(text: &SecretString) -> Result<Self, TokenError> {
        let token = text.expose_secret().trim();
        if token.len() > IDENTITY_TOKEN_BYTES_MAX {
            return Err(TokenError::Form("it has more than 32 KiB"));
        }
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form("it has not three parts"));
        };
        let claims = URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .map_err(|_| TokenError::Form("its claims are not base64"))?;
        let claims: Claims = serde_json::from_slice(&claims)
            .map_err(|_| TokenError::Form("its claims are no JSON that is known"))?;
        let named = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.len() <= IDENTITY_NAME_BYTES_MAX)
        };
        let issuer = named(claims.iss).ok_or(TokenError::Nobody("iss"))?;
        let (subject, is_address) = match named(claims.email) {
            Some(email) if is_true(claims.email_verified.as_ref()) => (email, true),
            Some(email) => {
                return Err(TokenError::Unverified {
                    issuer: cleaned(&issuer, NAME_CHARS_MAX),
                    email: cleaned(&email, NAME_CHARS_MAX),
                });
            }
            None => (named(claims.sub).ok_or(TokenError::Nobody("sub"))?, false),
        };
        let expires = claims.exp.as_ref().and_then(seconds);
        // The first part is the same for all tokens of an issuer, and no secret.
        let parts = token
            .split('.')
            .skip(1)
            .filter(|part| part.len() >= PART_BYTES_MIN);
        let secrets = std::iter::once(token).chain(parts);
        Ok(Self {
            text: token.to_owned().into(),
            secrets: secrets.map(|text| text.to_owned().into()).collect(),
            issuer,
            subject,
            is_address,
            expires,
        })
    }

    /// The token itself, for nobody but the certificate authority.
    pub(super) const fn secret(&self) -> &SecretString {
        &self.text
    }

    /// What is not to be repeated of it, should somebody send it back: all of it first, then its parts, for who cuts
    /// it or decodes it sends no whole token.
    pub(super) fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Whom it is of, as it is: what a proof of possession is made over.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether a certificate for it may name `identity`: an address stands there as it is; what the authority
    /// makes of other subjects is its own affair.
    pub(super) fn may_be_named(&self, identity: &str) -> bool {
        !self.is_address || self.subject == identity
    }

    /// Whom it is of, for people.
    pub fn identity(&self) -> String {
        cleaned(&self.subject, NAME_CHARS_MAX)
    }

    /// Who issued it, for people.
    pub fn issuer(&self) -> String {
        cleaned(&self.issuer, NAME_CHARS_MAX)
    }

    /// When it ended, if it has by `now`.
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires.filter(|expires| *expires <= now)
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.text.expose_secret() == other.text.expose_secret()
    }
}

fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text == "true",
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// A time within the years that a clock can have; a fraction of a second is left out.
fn seconds(value: &Value) -> Option<Timestamp> {
    let whole = match value.as_i64() {
        Some(whole) => whole,
        None => format!("{:.0}", value.as_f64()?.floor()).parse().ok()?,
    };
    Timestamp::from_second(whole).ok()
}

/// Where tokens come from. It is asked again before each certificate: a file may have a newer one by then.
#[derive(Clone)]
pub struct TokenSource {
    read: Option<Arc<Read>>,
    first: IdentityToken,
}

type Read = dyn Fn() -> Result<SecretString, String> + Send + Sync;

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    /// One token, always the same.
    pub fn fixed(token: IdentityToken) -> Self {
        Self {
            read: None,
            first: token,
        }
    }

    /// Tokens as `read` gives them; where it cannot, it says why in a sentence without anything secret. All of
    /// them are of whom `first` is of: that was agreed to.
    pub fn new(
        first: &IdentityToken,
        read: impl Fn() -> Result<SecretString, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            read: Some(Arc::new(read)),
            first: first.clone(),
        }
    }

    /// The token as it is now.
    ///
    /// # Errors
    ///
    /// As [`TokenError`].
    pub fn read(&self) -> Result<IdentityToken, TokenError> {
        let Some(read) = &self.read else {
            return Ok(self.first.clone());
        };
        let token = IdentityToken::parse(&read().map_err(TokenError::Unread)?)?;
        if token.subject == self.first.subject && token.issuer == self.first.issuer {
            Ok(token)
        } else {
            Err(TokenError::Other {
                agreed: self.first.identity(),
                other: token.identity(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> SecretString {
        let part = URL_SAFE_NO_PAD.encode(claims);
        format!("e30.{part}.c2lnbmF0dXJl").into()
    }

    fn parsed(claims: &str) -> Result<IdentityToken, TokenError> {
        IdentityToken::parse(&token(claims))
    }

    #[test]
    fn a_verified_address_goes_before_the_subject() {
        for verified in ["true", "\"true\""] {
            let claims = format!(
                r#"{{"iss":"https://i.example","sub":"7","email":"a@x.example","email_verified":{verified},"exp":10}}"#
            );
            let token = parsed(&claims).unwrap();
            assert_eq!(
                (token.subject(), token.identity().as_str()),
                ("a@x.example", "a@x.example")
            );
        }
        let job = parsed(r#"{"iss":"https://i.example","sub":"project_path:a/b"}"#).unwrap();
        assert_eq!(
            (job.subject(), job.issuer().as_str()),
            ("project_path:a/b", "https://i.example")
        );
        assert_eq!(job.expired(Timestamp::MAX), None);
        for unverified in ["", r#","email_verified":false"#, r#","email_verified":1"#] {
            let claims = format!(r#"{{"iss":"i","sub":"7","email":"a@x.example"{unverified}}}"#);
            let refused = parsed(&claims);
            assert!(
                matches!(refused, Err(TokenError::Unverified { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_token_ends_when_it_says() {
        for exp in ["1000", "1000.9", "1e3"] {
            let token = parsed(&format!(r#"{{"iss":"i","sub":"s","exp":{exp}}}"#)).unwrap();
            let at = |second| Timestamp::from_second(second).unwrap();
            assert_eq!(token.expired(at(999)), None, "{exp}");
            assert_eq!(token.expired(at(1000)), Some(at(1000)), "{exp}");
        }
        let odd = parsed(r#"{"iss":"i","sub":"s","exp":1e300}"#).unwrap();
        assert_eq!(odd.expired(Timestamp::MAX), None);
    }

    #[test]
    fn what_is_no_token_is_refused_and_never_repeated() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"i","sub":"s"}"#);
        for (bad, why) in [
            (String::new(), "three parts"),
            ("secret-text".to_owned(), "three parts"),
            (format!("a.{claims}"), "three parts"),
            (format!("a.{claims}.b.c"), "three parts"),
            ("a.!secret!.b".to_owned(), "base64"),
            ("a.c2VjcmV0.b".to_owned(), "JSON"),
            (
                format!("a.{claims}.{}", "b".repeat(IDENTITY_TOKEN_BYTES_MAX)),
                "32 KiB",
            ),
        ] {
            let said = IdentityToken::parse(&bad.clone().into())
                .unwrap_err()
                .to_string();
            assert!(said.contains(why) && !said.contains("secret"), "{said}");
        }
        for (claims, missing) in [
            (r#"{"sub":"s"}"#, "iss"),
            (r#"{"iss":"i"}"#, "sub"),
            (r#"{"iss":"i","sub":""}"#, "sub"),
        ] {
            assert_eq!(parsed(claims).unwrap_err(), TokenError::Nobody(missing));
        }
        let whole = format!("e30.{claims}.{}", "b".repeat(64));
        let whole = IdentityToken::parse(&whole.into()).unwrap();
        let secrets: Vec<usize> = whole
            .secrets()
            .iter()
            .map(|one| one.expose_secret().len())
            .collect();
        assert_eq!(secrets, [4 + claims.len() + 65, claims.len(), 64]);
        let shown = format!("{:?}", parsed(r#"{"iss":"i","sub":"s"}"#).unwrap());
        assert!(!shown.contains("c2lnbmF0dXJl"), "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(claims in ".*", around in ".*") {
            drop(parsed(&claims));
            drop(IdentityToken::parse(&around.into()));
        }
    }
}
