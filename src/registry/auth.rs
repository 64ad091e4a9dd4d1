//! Challenges and tokens (RFC 7235; the Docker token specification that the distribution API uses).
//!
//! A registry's challenge is kept after its first 401, so that no request is spent on asking again.
//! One token per registry and set of scopes serves all jobs; it is fetched once however many ask,
//! renewed before it ends, and thrown away when a registry refuses it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::oci::Repository;

use super::place::{is_forbidden, shown};

/// The life of a token whose server names none (Docker token specification: 60 s).
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_mins(1);
/// A token is renewed this long before its end, or at three quarters of a shorter life.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// The longest life that is believed, so that a wrong number cannot overflow a clock.
const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24);

/// What one request must be allowed to do: `repository:PATH:ACTIONS`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Scope(String);

impl Scope {
    pub(super) fn pull(repository: &Repository) -> Self {
        Self(format!("repository:{}:pull", repository.path()))
    }

    pub(super) fn pull_push(repository: &Repository) -> Self {
        Self(format!("repository:{}:pull,push", repository.path()))
    }

    pub(super) fn pull_push_delete(repository: &Repository) -> Self {
        Self(format!("repository:{}:pull,push,delete", repository.path()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token has to allow, so that one token serves all requests to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing: a destination.
    PullPush,
}

/// One side of a run: each has credentials and trust of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where images come from.
    Source,
    /// Where they go, or stay.
    Destination,
}

impl Access {
    pub(super) fn scope(self, repository: &Repository) -> Scope {
        match self {
            Self::Pull => Scope::pull(repository),
            Self::PullPush => Scope::pull_push(repository),
        }
    }
}

/// How a registry wants to be told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// Why a challenge is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChallengeError {
    /// There is none that this program knows.
    Unknown,
    /// Its realm is no place to send credentials to.
    Realm(String),
}

impl Challenge {
    /// The challenge in `headers` of an answer from `registry_url`; Bearer is preferred.
    ///
    /// The realm decides where credentials go, so it is checked: no user, no plain HTTP for a
    /// registry on HTTPS, and no address that only this machine or its cloud can mean, unless it is
    /// the registry's own host (CVE-2026-48978; ggcr #2258 for the harm of refusing too much).
    pub(super) fn read(headers: &HeaderMap, registry_url: &Url) -> Result<Self, ChallengeError> {
        let mut basic = false;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in http_auth::ChallengeParser::new(text) {
                let Ok(challenge) = challenge else { break };
                let param = |name: &str| {
                    let found = challenge
                        .params
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = param("realm").ok_or(ChallengeError::Unknown)?;
                    let realm = check_realm(&realm, registry_url)?;
                    let service = param("service");
                    return Ok(Self::Bearer { realm, service });
                }
                basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            }
        }
        if basic {
            Ok(Self::Basic)
        } else {
            Err(ChallengeError::Unknown)
        }
    }
}

fn check_realm(text: &str, registry: &Url) -> Result<Url, ChallengeError> {
    let realm: Url = text
        .parse()
        .map_err(|_| ChallengeError::Realm("a realm that is no URL".to_owned()))?;
    let refused = || ChallengeError::Realm(shown(&realm));
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(refused());
    }
    let scheme_is_good =
        realm.scheme() == "https" || realm.scheme() == "http" && registry.scheme() == "http";
    if !scheme_is_good {
        return Err(refused());
    }
    if is_forbidden(&realm, registry) {
        return Err(refused());
    }
    Ok(realm)
}

/// An access token. Never printed.
#[derive(Clone)]
pub(super) struct Token {
    secret: Arc<SecretString>,
    renew_at: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// Reads the answer of a token service; `asked` is when it was asked.
    pub(super) fn read(body: &[u8], asked: Instant) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
            // Some services write the number as a text.
            expires_in: Option<serde_json::Value>,
        }
        let body: Body = serde_json::from_slice(body).ok()?;
        let nonempty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let secret = nonempty(body.token).or_else(|| nonempty(body.access_token))?;
        let life = body
            .expires_in
            .and_then(|life| life.as_f64().or_else(|| life.as_str()?.parse().ok()))
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(TOKEN_LIFE_DEFAULT)
            .min(TOKEN_LIFE_MAX);
        Some(Self {
            secret: Arc::new(format!("Bearer {secret}").into()),
            renew_at: asked + life - TOKEN_MARGIN.min(life / 4),
        })
    }

    /// When it is to be renewed.
    #[cfg(any(test, fuzzing))]
    pub(super) const fn renew_at(&self) -> Instant {
        self.renew_at
    }

    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.secret, &other.secret)
    }

    pub(super) fn header(&self) -> &str {
        self.secret.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, registry: &str) -> Result<Challenge, ChallengeError> {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, header.parse().unwrap());
        Challenge::read(&headers, &registry.parse().unwrap())
    }

    fn realm(realm: &str, registry: &str) -> bool {
        read(&format!("Bearer realm=\"{realm}\",service=\"s\""), registry).is_ok()
    }

    #[test]
    fn bearer_is_preferred_and_basic_known() {
        let url = "https://r.example/v2/";
        assert_eq!(read("Basic realm=\"x\"", url), Ok(Challenge::Basic));
        assert!(matches!(
            read(
                "Basic realm=\"x\", bearer Realm=\"https://t.example/token\"",
                url
            ),
            Ok(Challenge::Bearer { service: None, .. })
        ));
        assert_eq!(read("Negotiate", url), Err(ChallengeError::Unknown));
        assert_eq!(
            read("Bearer service=\"x\"", url),
            Err(ChallengeError::Unknown)
        );
    }

    #[test]
    fn realms_that_steal_credentials_are_refused() {
        let https = "https://r.example/v2/";
        assert!(realm("https://auth.example/token", https));
        assert!(realm("https://10.1.2.3/token", https));
        assert!(realm(
            "http://127.0.0.1:5001/token",
            "http://127.0.0.1:5000/v2/"
        ));
        assert!(realm(
            "https://192.168.1.1:5000/token",
            "https://192.168.1.1:5000/v2/"
        ));
        for bad in [
            "http://auth.example/token",
            "https://169.254.169.254/latest",
            "https://[fd00:ec2::254]/latest",
            "https://[::ffff:169.254.169.254]/latest",
            "https://0.0.0.0/token",
            "https://[::]/token",
            "https://127.0.0.1/token",
            "https://2130706433/token",
            "https://user@auth.example/token",
            "ftp://auth.example/token",
            "/token",
            "file:///etc/passwd",
        ] {
            assert!(!realm(bad, https), "{bad}");
        }
        assert!(!realm(
            "http://169.254.169.254/token",
            "http://127.0.0.1:5000/v2/"
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_renewed_before_they_end() {
        let asked = Instant::now();
        let token = |body: &str| Token::read(body.as_bytes(), asked);
        let lives = [
            (r#"{"token":"t","expires_in":300}"#, 270),
            (r#"{"access_token":"t"}"#, 45),
            (r#"{"token":"","access_token":"t","expires_in":0}"#, 45),
            (r#"{"token":"t","expires_in":1e300}"#, 45),
            (r#"{"token":"t","expires_in":"300"}"#, 270),
            (r#"{"token":"t","expires_in":[]}"#, 45),
        ];
        for (body, seconds) in lives {
            let token = token(body).unwrap();
            assert_eq!(
                token.renew_at - asked,
                Duration::from_secs(seconds),
                "{body}"
            );
            assert!(token.is_fresh());
            assert!(!format!("{token:?}").contains("Bearer"));
        }
        for bad in ["", "{}", "[]", r#"{"token":""}"#, "<html>"] {
            assert!(token(bad).is_none());
        }
    }
}
