//! Credentials, and the map that says which registry gets which.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::oci::Registry;

/// What proves to a registry who asks. Never printed.
#[derive(Clone)]
pub enum Credential {
    /// A user name and a password or access token.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// An identity token, exchanged for access tokens by the `OAuth2` refresh grant.
    IdentityToken(SecretString),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(***)")
    }
}

impl Credential {
    /// The value of a Basic `Authorization` header (RFC 7617), for a password.
    pub(super) fn basic(&self) -> Option<SecretString> {
        match self {
            Self::Password { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                Some(format!("Basic {}", STANDARD.encode(pair)).into())
            }
            Self::IdentityToken(_) => None,
        }
    }
}

/// Which registry gets which credential: exactly the host and port that the name is written with,
/// nothing near it (CVE-2026-5222 was a looser match).
#[derive(Debug, Clone, Default)]
pub struct Credentials(HashMap<Registry, Credential>);

impl Credentials {
    /// Nothing for nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Gives `credential` to `registry`, instead of what it had.
    pub fn insert(&mut self, registry: Registry, credential: Credential) {
        self.0.insert(registry, credential);
    }

    /// What `registry` gets.
    pub fn get(&self, registry: &Registry) -> Option<&Credential> {
        self.0.get(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let mut credentials = Credentials::none();
        credentials.insert(
            Registry::docker_hub(),
            Credential::Password {
                user: "user-name".into(),
                password: "pass-word".into(),
            },
        );
        let token = Credential::IdentityToken("identity-token".into());
        let shown = format!("{credentials:?} {token:?}");
        for secret in ["user-name", "pass-word", "identity-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_credential_is_for_its_own_registry_only() {
        let mut credentials = Credentials::none();
        let of = |text: &str| text.parse::<Registry>().unwrap();
        credentials.insert(of("reg.example"), Credential::IdentityToken("x".into()));
        assert!(credentials.get(&of("REG.example")).is_some());
        for other in [
            "reg.example:443",
            "reg.example:5000",
            "a.reg.example",
            "reg.example2",
        ] {
            assert!(credentials.get(&of(other)).is_none(), "{other}");
        }
    }
}
