//! The JSON of a file of credentials, as far as it is read (containers-auth.json(5), docker's `config.json`).

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::registry::Credential;

/// What is read of a file; the rest is passed over.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) auths: Map<Entry>,
    pub(super) cred_helpers: Map<String>,
    pub(super) creds_store: Option<String>,
}

/// An object in the order in which it is written, with all that stands twice; `null` is an empty one, as
/// in Go.
pub(super) struct Map<T>(Vec<(String, T)>);

impl<T> Map<T> {
    pub(super) fn into_pairs(self) -> Vec<(String, T)> {
        self.0
    }
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(OfMap(PhantomData))
    }
}

struct OfMap<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for OfMap<T> {
    type Value = Map<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Map::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Option<T>>()? {
            pairs.push((key, value.unwrap_or_default()));
        }
        Ok(Map(pairs))
    }
}

/// An entry of `auths`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// User and password with a colon between them, in Base64.
    auth: Secret,
    identitytoken: Secret,
    registrytoken: Secret,
    username: Option<String>,
    password: Secret,
}

impl Entry {
    /// Whether it says nothing: Docker writes such an entry where a helper keeps the secret, and podman
    /// where nobody is logged in any more.
    pub(super) fn is_empty(&self) -> bool {
        let nobody = STANDARD.encode(":");
        let auth = self.auth.text();
        (auth.is_empty() || auth == nobody)
            && self.identitytoken.text().is_empty()
            && self.registrytoken.text().is_empty()
            && self.password.text().is_empty()
    }

    /// What it proves with, or what is wrong with it.
    pub(super) fn credential(&self) -> Result<Credential, &'static str> {
        if !self.identitytoken.text().is_empty() {
            return Ok(Credential::IdentityToken(self.identitytoken.0.clone()));
        }
        if self.auth.text().is_empty() && !self.password.text().is_empty() {
            // Docker reads what is not encoded too.
            return Ok(Credential::Password {
                user: self.username.clone().unwrap_or_default(),
                password: self.password.0.clone(),
            });
        }
        if self.auth.text().is_empty() {
            return Err("has a `registrytoken`, which is not supported");
        }
        let decoded = STANDARD.decode(self.auth.text().trim());
        let decoded = Zeroizing::new(decoded.map_err(|_| "has an `auth` that is not Base64")?);
        let text = std::str::from_utf8(&decoded).map_err(|_| "has an `auth` that is not UTF-8")?;
        let (user, password) = text
            .split_once(':')
            .ok_or("has an `auth` without a colon between user and password")?;
        Ok(Credential::Password {
            user: user.to_owned(),
            // Very old versions of Docker padded it.
            password: password.trim_matches('\0').into(),
        })
    }
}

/// A text that is not printed; `null` is an empty one.
#[derive(Debug, Default)]
struct Secret(SecretString);

impl Secret {
    fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Self(text.unwrap_or_default().into()))
    }
}
