//! Certificates from files: `--ca-file`, `--cert-dir`, and the folders of containers-certs.d(5).
//!
//! The folder of a host is named `host[:port]`, exactly as names have it. Of the places where such a folder
//! may be, the first that has it counts, even where nothing stands in it; the others are not looked at for
//! this host (found with skopeo 1.22). In a folder, `*.crt` are authorities beside the system's, and
//! `NAME.cert` with `NAME.key` is what is shown to a host that asks who we are.
//!
//! What is wrong in the folder of a host is told where that host is met, and disturbs nobody else.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::cli::error::Error;
use crate::limits::input::{CERTIFICATE_FILES_MAX, CERTIFICATE_HOSTS_MAX};
use crate::oci::Registry;
use crate::registry::{Certificates, HostCertificates, Identity};
use crate::text;

use super::files;

/// Where certificates are.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Sources<'a> {
    /// Authorities for every host.
    pub(in crate::cli) authorities: &'a [PathBuf],
    /// A folder for every host of the run, instead of those for single hosts.
    pub(in crate::cli) folder: Option<&'a Path>,
    /// The home of the user.
    pub(in crate::cli) home: Option<&'a Path>,
    /// The folder that has `etc`: `/`.
    pub(in crate::cli) root: &'a Path,
}

/// Reads all certificates of a run. `registries` are those of the run: what `--cert-dir` has to show is
/// shown to them.
///
/// # Errors
///
/// When a file that was named cannot be read or has no certificate, or the folder that was named has what
/// makes no sense, or a place cannot be looked into.
pub(in crate::cli) fn read<'a>(
    sources: &Sources<'_>,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<Certificates, Error> {
    let mut certificates = Certificates::default();
    for path in sources.authorities {
        let found = chain(path)
            .map_err(|error| Error::refused(&format!("`--ca-file {}`: {error}", path.display())))?;
        certificates.authorities.extend(found);
    }
    match sources.folder {
        Some(folder) => add_folder(folder, registries, &mut certificates)?,
        None => certificates.hosts = of_hosts(sources)?,
    }
    Ok(certificates)
}

/// Adds the folder of `--cert-dir`.
fn add_folder<'a>(
    folder: &Path,
    registries: impl IntoIterator<Item = &'a Registry>,
    certificates: &mut Certificates,
) -> Result<(), Error> {
    let refused = |error: &dyn std::fmt::Display| {
        Error::refused(&format!("`--cert-dir {}`: {error}", folder.display()))
    };
    if !folder.is_dir() {
        return Err(refused(&"it is no folder"));
    }
    let paths = files::entries(folder, CERTIFICATE_FILES_MAX).map_err(|error| refused(&error))?;
    let found = of_host(&paths).map_err(|error| refused(&error))?;
    certificates.authorities.extend(found.authorities);
    if let Some(identity) = found.identity {
        for registry in registries {
            let host = HostCertificates {
                authorities: Vec::new(),
                identity: Some(identity.clone()),
            };
            certificates.hosts.insert(registry.to_string(), Ok(host));
        }
    }
    Ok(())
}

/// Reads the folders of all hosts.
fn of_hosts(
    sources: &Sources<'_>,
) -> Result<HashMap<String, Result<HostCertificates, String>>, Error> {
    let places = [
        sources
            .home
            .map(|home| home.join(".config/containers/certs.d")),
        Some(sources.root.join("etc/containers/certs.d")),
        Some(sources.root.join("etc/docker/certs.d")),
    ];
    let mut hosts = HashMap::new();
    for place in places.into_iter().flatten() {
        let folders = match files::entries(&place, CERTIFICATE_HOSTS_MAX) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(folder = %place.display(), "certificates that others may read");
                continue;
            }
            Err(error) => {
                let what = format!("cannot read `{}`", place.display());
                return Err(Error::usage(&what, &error));
            }
        };
        for folder in folders {
            let Some(host) = host_of(&folder) else {
                continue;
            };
            if let hash_map::Entry::Vacant(free) = hosts.entry(host) {
                free.insert(of_folder(&folder));
            }
        }
    }
    Ok(hosts)
}

/// The host that a folder is for.
fn host_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    let registry: Registry = name.parse().ok()?;
    // Other names of Docker Hub have no meaning here.
    let host = name.to_ascii_lowercase();
    (registry.as_str() == host && folder.is_dir()).then_some(host)
}

/// Reads the folder of one host.
fn of_folder(folder: &Path) -> Result<HostCertificates, String> {
    match files::entries(folder, CERTIFICATE_FILES_MAX) {
        Ok(paths) => of_host(&paths),
        // As in containers/image: it may be meant for others.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::debug!(folder = %folder.display(), "certificates that others may read");
            Ok(HostCertificates::default())
        }
        Err(error) => Err(format!("cannot read `{}`: {error}", folder.display())),
    }
}

/// Reads the files of one folder.
fn of_host(paths: &[PathBuf]) -> Result<HostCertificates, String> {
    let mut host = HostCertificates::default();
    let mut identity: Option<(&Path, Identity)> = None;
    for path in paths {
        let ends_with = |end: &str| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().ends_with(end.as_bytes())
        };
        let shown = path.display();
        if ![".crt", ".cert", ".key"].into_iter().any(ends_with) {
            continue;
        }
        // A pipe would be waited for.
        if path.exists() && !path.is_file() {
            return Err(format!("`{shown}` is no file"));
        }
        if ends_with(".crt") {
            if !path.exists() {
                tracing::warn!(file = %shown, "a certificate is a link to nothing");
                continue;
            }
            let found = chain(path).map_err(|error| format!("`{shown}`: {error}"))?;
            host.authorities.extend(found);
        } else if ends_with(".cert") {
            let key = path.with_extension("key");
            if !paths.contains(&key) {
                return Err(format!(
                    "the client certificate `{shown}` has no key `{}` beside it; authorities end in `.crt`",
                    key.display()
                ));
            }
            if let Some((other, _)) = identity {
                return Err(format!(
                    "`{}` and `{shown}` are both client certificates, and only one can be shown",
                    other.display()
                ));
            }
            identity = Some((path, pair(path, &key)?));
        } else if ends_with(".key") && !paths.contains(&path.with_extension("cert")) {
            return Err(format!(
                "the key `{shown}` has no client certificate `{}` beside it",
                path.with_extension("cert").display()
            ));
        }
    }
    host.identity = identity.map(|(_, identity)| identity);
    Ok(host)
}

/// A client certificate and its key, which fit each other.
fn pair(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain =
        chain(certificate).map_err(|error| format!("`{}`: {error}", certificate.display()))?;
    let of_key = |error: String| format!("`{}`: {error}", key.display());
    let secret = private_key(key).map_err(of_key)?;
    // What the library says of a key is not repeated: nothing of a key is ever told.
    let signing = any_supported_type(&secret)
        .map_err(|_| of_key("this kind of key cannot be used".to_owned()))?;
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        Ok(()) => Ok(Identity::new(chain, secret)),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Identity::new(chain, secret))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certificate = certificate.display();
            Err(of_key(format!("it is not the key of `{certificate}`")))
        }
        Err(error) => Err(format!("`{}`: {error}", certificate.display())),
    }
}

/// The certificates of a PEM file, at least one.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it has no certificate in PEM form".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("it is not PEM: {}", text::told_of_pem(&error))),
    }
}

/// The first private key of a PEM file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem: SecretSlice<u8> = bytes(path)?.into();
    let pem = pem.expose_secret();
    match PrivateKeyDer::from_pem_slice(pem) {
        _ if is_sealed(pem) => Err(
            "it is protected by a password, which is not asked for; `openssl pkey` takes it away"
                .to_owned(),
        ),
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err("it has no private key in PEM form".to_owned()),
        Err(error) => Err(format!("it is not PEM: {}", text::told_of_pem(&error))),
    }
}

/// Whether a key is protected by a password, in the form of PKCS#8 or in OpenSSL's older one (RFC 1421).
fn is_sealed(pem: &[u8]) -> bool {
    pem.split(|b| *b == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY")
            || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    files::bytes(path).map_err(|error| format!("it cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
