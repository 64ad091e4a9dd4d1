//! Credentials and clients from the files people already have.
//!
//! `REGISTRY_AUTH_FILE` where it is set, else `$DOCKER_CONFIG/config.json`, else
//! `~/.docker/config.json`. A file that is named and cannot be read is an error; one that is only the
//! habit may be absent. Each registry gets what is written for exactly its own host and port.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::oci::Registry;
use crate::registry::{Client, Credential, Credentials, Settings, Tls};

use super::Environment;
use super::args::Access;
use super::error::Error;

/// The largest file of credentials that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A client with the credentials of `registries`.
pub(super) fn client<'a>(
    access: &Access,
    environment: &Environment,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<Client, Error> {
    let settings = Settings {
        credentials: credentials(environment, registries)?,
        tls: if access.tls_verify {
            Tls::Verified
        } else {
            Tls::Unverified
        },
        stall_timeout: access.stall_timeout,
        ..Settings::default()
    };
    Client::new(settings).map_err(|error| Error::usage("cannot set up TLS", &error))
}

fn credentials<'a>(
    environment: &Environment,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<Credentials, Error> {
    let mut credentials = Credentials::none();
    let Some(file) = AuthFile::read(environment)? else {
        return Ok(credentials);
    };
    for registry in registries {
        if let Some(credential) = file.credential(registry)? {
            credentials.insert(registry.clone(), credential);
        }
    }
    Ok(credentials)
}

struct AuthFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl AuthFile {
    fn read(environment: &Environment) -> Result<Option<Self>, Error> {
        let (path, is_named) = if let Some(path) = &environment.registry_auth_file {
            (PathBuf::from(path), true)
        } else if let Some(folder) = &environment.docker_config {
            (Path::new(folder).join("config.json"), false)
        } else if let Some(home) = &environment.home {
            (Path::new(home).join(".docker/config.json"), false)
        } else {
            return Ok(None);
        };
        let fail = |error: std::io::Error| {
            Error::usage(
                &format!("cannot read credentials from `{}`", path.display()),
                &error,
            )
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => {
                return Ok(None);
            }
            Err(error) => return Err(fail(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            let what = format!(
                "`{}` is larger than 1 MiB, which no file of credentials is",
                path.display()
            );
            return Err(Error::refused(&what));
        }
        Ok(Some(Self { path, bytes }))
    }

    /// What the file, or a helper that it names, has for `registry`.
    fn credential(&self, registry: &Registry) -> Result<Option<Credential>, Error> {
        for key in keys(registry) {
            let found = docker_credential::get_credential_from_reader(self.bytes.as_slice(), &key);
            match found {
                // podman writes an empty entry for "logged out"; it is nothing to send.
                Ok(DockerCredential::UsernamePassword(user, password))
                    if user.is_empty() && password.is_empty() => {}
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    let password = password.into();
                    return Ok(Some(Credential::Password { user, password }));
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    return Ok(Some(Credential::IdentityToken(token.into())));
                }
                Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                Err(CredentialRetrievalError::HelperFailure { ref stdout, .. })
                    if stdout.contains("not found") => {}
                Err(error) => {
                    let path = self.path.display();
                    let what = format!("cannot get the credential of `{registry}` from `{path}`");
                    // A helper's own output may hold what is not to be printed.
                    if let CredentialRetrievalError::HelperFailure { helper, .. } = &error {
                        return Err(Error::refused(&format!(
                            "{what}: the helper `{helper}` failed"
                        )));
                    }
                    return Err(Error::usage(&what, &error));
                }
            }
        }
        Ok(None)
    }
}

/// The names under which files keep the credential of `registry`: its own, and for Docker Hub the
/// address that `docker login` writes.
fn keys(registry: &Registry) -> Vec<String> {
    let mut keys = Vec::new();
    if *registry == Registry::docker_hub() {
        keys.push("https://index.docker.io/v1/".to_owned());
        keys.push("index.docker.io".to_owned());
    }
    keys.push(registry.to_string());
    keys
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn environment(folder: &Path) -> Environment {
        Environment {
            home: None,
            docker_config: Some(folder.into()),
            registry_auth_file: None,
            cosign_password: None,
            temporary: folder.into(),
            has_no_color: true,
            is_terminal: false,
        }
    }

    fn user(credentials: &Credentials, registry: &str) -> Option<String> {
        match credentials.get(&registry.parse().unwrap())? {
            Credential::Password { user, password } => {
                Some(format!("{user}:{}", password.expose_secret()))
            }
            Credential::IdentityToken(token) => Some(token.expose_secret().to_owned()),
        }
    }

    #[test]
    fn each_registry_gets_its_own() {
        let folder = tempfile::tempdir().unwrap();
        // "YTpiOmM=" is "a:b:c", "ZDpl" is "d:e".
        let text = r#"{"auths":{
            "reg.example:5000":{"auth":"YTpiOmM="},
            "https://index.docker.io/v1/":{"auth":"ZDpl"},
            "token.example":{"auth":"","identitytoken":"secret"}}}"#;
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let names = [
            "reg.example:5000",
            "reg.example",
            "docker.io",
            "token.example",
        ];
        let registries: Vec<Registry> = names.iter().map(|name| name.parse().unwrap()).collect();
        let credentials = credentials(&environment(folder.path()), &registries).unwrap();
        assert_eq!(
            user(&credentials, "reg.example:5000").as_deref(),
            Some("a:b:c")
        );
        assert_eq!(user(&credentials, "reg.example"), None);
        assert_eq!(user(&credentials, "docker.io").as_deref(), Some("d:e"));
        assert_eq!(
            user(&credentials, "token.example").as_deref(),
            Some("secret")
        );
    }

    #[test]
    fn a_named_file_must_be_there_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let registries = ["reg.example".parse::<Registry>().unwrap()];
        let mut environment = environment(folder.path());
        assert!(credentials(&environment, &registries).is_ok());
        environment.registry_auth_file = Some(folder.path().join("none.json").into());
        let error = credentials(&environment, &registries)
            .unwrap_err()
            .to_string();
        assert!(error.contains("none.json"), "{error}");
        let bad = folder.path().join("bad.json");
        std::fs::write(&bad, "{").unwrap();
        environment.registry_auth_file = Some(bad.into());
        assert!(credentials(&environment, &registries).is_err());
    }
}
