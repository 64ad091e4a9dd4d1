//! Credentials, and the map that says which repository is asked for with which.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::oci::{Namespace, Namespaced, Registry, Repository};

/// How long a source of credentials is left alone that had nothing newer: a registry that refuses for
/// another reason must not run a helper for every image.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

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

    /// All forms of it that are sent.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        match self {
            Self::Password { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                vec![STANDARD.encode(pair).into(), password.clone()]
            }
            Self::IdentityToken(token) => vec![token.clone()],
        }
    }

    /// Whether both are the same secret.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Password { user, password },
                Self::Password {
                    user: other_user,
                    password: other,
                },
            ) => user == other_user && password.expose_secret() == other.expose_secret(),
            (Self::IdentityToken(token), Self::IdentityToken(other)) => {
                token.expose_secret() == other.expose_secret()
            }
            (Self::Password { .. }, Self::IdentityToken(_))
            | (Self::IdentityToken(_), Self::Password { .. }) => false,
        }
    }
}

/// Asks again where a credential came from: a helper, whose credentials may have an end. `None` where
/// it has none any more; the error is a sentence without secrets.
pub type Renew =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Option<Credential>, String>> + Send + Sync>;

/// The credential of a namespace, as it is now.
pub(super) struct Holder {
    namespace: Namespace,
    current: Mutex<Credential>,
    renew: Option<Renew>,
    /// When the source was asked and had nothing newer; locked while it is asked, by one at a time.
    asked_in_vain: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({}, ***)", self.namespace)
    }
}

impl Holder {
    /// What the credential is for.
    pub(super) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The credential, as it is now.
    pub(super) fn current(&self) -> Credential {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether there is another credential than `refused` by now: one that somebody else has got, or
    /// that its source gives when asked again. The source is asked once however many want to know, and
    /// left alone for a while after it had nothing newer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it lets the next one ask.
    pub(super) async fn renewed(&self, refused: &Credential) -> bool {
        if !self.current().is(refused) {
            return true;
        }
        let Some(renew) = &self.renew else {
            return false;
        };
        let mut asked_in_vain = self.asked_in_vain.lock().await;
        if !self.current().is(refused) {
            return true;
        }
        if asked_in_vain.is_some_and(|asked| asked.elapsed() < RENEWAL_PAUSE) {
            return false;
        }
        match renew().await {
            Ok(Some(credential)) if !credential.is(refused) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = credential;
                return true;
            }
            Ok(_) => tracing::debug!(namespace = %self.namespace, "no newer credential"),
            Err(error) => {
                tracing::warn!(namespace = %self.namespace, %error, "cannot renew a credential");
            }
        }
        *asked_in_vain = Some(Instant::now());
        false
    }
}

/// Which repositories are asked for with which credential: the one of the longest namespace that covers
/// a repository, exactly on host and port, and nothing near it.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Namespaced<Arc<Holder>>);

impl Credentials {
    /// Nothing for nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Gives `credential` to all of `registry`, instead of what it had.
    pub fn insert(&mut self, registry: Registry, credential: Credential) {
        self.give(registry.into(), credential, None);
    }

    /// Gives `credential` to `namespace`, instead of what it had; `renew` brings a newer one when it is
    /// refused.
    pub fn give(&mut self, namespace: Namespace, credential: Credential, renew: Option<Renew>) {
        let holder = Holder {
            namespace: namespace.clone(),
            current: Mutex::new(credential),
            renew,
            asked_in_vain: tokio::sync::Mutex::default(),
        };
        self.0.insert(namespace, Arc::new(holder));
    }

    /// Takes in `others`, instead of what it has for the same namespaces.
    pub fn extend(&mut self, others: &Self) {
        for (namespace, holder) in others.0.iter() {
            self.0.insert(namespace.clone(), Arc::clone(holder));
        }
    }

    /// Who holds what `repository` is asked for with.
    pub(super) fn holder(&self, repository: &Repository) -> Option<&Arc<Holder>> {
        self.0.get(repository)
    }

    /// The namespace whose credential `repository` is asked for with.
    pub fn namespace(&self, repository: &Repository) -> Option<&Namespace> {
        Some(self.holder(repository)?.namespace())
    }

    /// What `repository` is asked for with, as it is now.
    pub fn get(&self, repository: &Repository) -> Option<Credential> {
        Some(self.holder(repository)?.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(password: &str) -> Credential {
        Credential::Password {
            user: "user-name".into(),
            password: password.into(),
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let mut credentials = Credentials::none();
        credentials.insert(Registry::docker_hub(), password("pass-word"));
        let token = Credential::IdentityToken("identity-token".into());
        let shown = format!("{credentials:?} {token:?}");
        for secret in ["user-name", "pass-word", "identity-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_credential_is_for_its_own_registry_only() {
        let mut credentials = Credentials::none();
        let of = |registry: &str| Repository::new(registry.parse().unwrap(), "app").unwrap();
        credentials.insert(
            "reg.example".parse().unwrap(),
            Credential::IdentityToken("x".into()),
        );
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

    #[tokio::test(start_paused = true)]
    async fn a_source_that_has_nothing_newer_is_left_alone_for_a_while() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let renew: Renew = Arc::new(move || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            // The first two times there is something new.
            Box::pin(async move { Ok(Some(password(&n.min(1).to_string()))) })
        });
        let mut credentials = Credentials::none();
        credentials.give(Registry::docker_hub().into(), password("old"), Some(renew));
        let repository = Repository::new(Registry::docker_hub(), "a/b").unwrap();
        let holder = Arc::clone(credentials.holder(&repository).unwrap());
        let old = holder.current();
        assert!(holder.renewed(&old).await);
        // Somebody else who was refused with the old one asks nobody.
        assert!(holder.renewed(&old).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(holder.renewed(&holder.current()).await);
        for _ in 0..3 {
            assert!(!holder.renewed(&holder.current()).await);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        tokio::time::advance(RENEWAL_PAUSE).await;
        assert!(!holder.renewed(&holder.current()).await);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
