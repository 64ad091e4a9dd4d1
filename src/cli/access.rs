//! How registries are spoken to: credentials, certificates, mirrors and proxies from the files and variables
//! that people already have.
//!
//! Which of them counts, and in which order, is written in `docs/ACCESS.md`; `consign auth explain` tells it
//! for one registry. A run has two sides. What `registries.conf` says is for sources alone; the images that
//! `sign` and `validate` speak of are exactly where their names say.

mod aliases;
mod authfile;
mod certificates;
mod explain;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod given;
mod helper;
mod json;
mod login;
mod logout;
mod proxies;
mod registries;
mod search;
mod sources;
mod store;
#[cfg(test)]
#[path = "access/support_tests.rs"]
mod support;
mod way;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::oci::{Registry, Repository};
use crate::registry::{Certificates, Client, Credentials, Party, Rate, Services, Settings, Tls};

pub(super) use aliases::{Typed, resolved};
pub(super) use explain::explain;
pub(super) use login::login;
pub(super) use logout::logout;
pub(super) use registries::Registries;
pub(super) use sources::Sources;

use super::Environment;
use super::args::{Access, OneSide, TwoSides};
use super::error::Error;
use given::{Creds, CredsFile, Given};
use search::credentials;

/// The folder that the host's own files are below.
const ROOT: &str = "/";

/// A client for a command of one side, with the credentials of `repositories`.
pub(super) async fn client<'a>(
    access: &Access,
    side: &OneSide,
    environment: &Environment,
    repositories: impl IntoIterator<Item = &'a Repository> + Clone,
) -> Result<Client, Error> {
    let given = given(access, side)?;
    let party = Party {
        credentials: credentials(&given, environment, repositories.clone()).await?,
        tls: tls(access.tls_verify),
        ..Party::default()
    };
    let registries = repositories.into_iter().map(Repository::registry);
    let certificates = certificates(access, environment, registries)?;
    settings(access, [party.clone(), party], certificates).map(Client::new)
}

/// How services that are no registries are spoken to: with the run's authorities, proxies and patience.
pub(super) fn services(access: &Access, environment: &Environment) -> Result<Services, Error> {
    let certificates = all_certificates(access, environment, [])?;
    let parties = [Party::default(), Party::default()];
    settings(access, parties, certificates).map(|settings| Services::new(&settings))
}

/// A client for a command that looks at one image, as a source is looked at: with what `registries.conf` says
/// of it.
pub(super) async fn client_of_source(
    access: &Access,
    side: &OneSide,
    environment: &Environment,
    sources: &Sources,
) -> Result<Client, Error> {
    let given = given(access, side)?;
    let party = source_party(&given, access.tls_verify, environment, sources).await?;
    let registries = sources.repositories().map(Repository::registry);
    let certificates = certificates(access, environment, registries)?;
    settings(access, [party.clone(), party], certificates).map(Client::new)
}

/// A client for a copy from `sources` to `destinations`.
pub(super) async fn client_of_two<'a>(
    access: &Access,
    sides: &TwoSides,
    environment: &Environment,
    sources: &'a Sources,
    destinations: impl IntoIterator<Item = &'a Repository> + Clone,
) -> Result<Client, Error> {
    let [from, to] = given_of_two(access, sides)?;
    let verifies = sides.src_tls_verify.or(access.tls_verify);
    let source = source_party(&from, verifies, environment, sources).await?;
    let destination = Party {
        credentials: credentials(&to, environment, destinations.clone()).await?,
        tls: tls(sides.dest_tls_verify.or(access.tls_verify)),
        ..Party::default()
    };
    let registries = sources.repositories().chain(destinations);
    let registries = registries.map(Repository::registry);
    let certificates = certificates(access, environment, registries)?;
    settings(access, [source, destination], certificates).map(Client::new)
}

/// How sources are spoken to. What was given on the command line for them is for those that lines mean,
/// and not for mirrors that somebody else has put in front of them.
async fn source_party(
    given: &Given,
    verifies: Option<bool>,
    environment: &Environment,
    sources: &Sources,
) -> Result<Party, Error> {
    let for_mirrors = Given {
        creds: None,
        ..given.clone()
    };
    let mut all = credentials(&for_mirrors, environment, sources.mirrors()).await?;
    all.extend(&credentials(given, environment, sources.meant()).await?);
    Ok(Party {
        credentials: all,
        tls: tls(verifies),
        // What is typed counts more than what is written down.
        exceptions: match verifies {
            Some(_) => crate::oci::Namespaced::default(),
            None => sources.exceptions(),
        },
    })
}

/// What the command line says about credentials.
pub(super) fn given(access: &Access, side: &OneSide) -> Result<Given, Error> {
    Ok(Given {
        creds: creds("--creds", side.creds.as_ref())?,
        no_creds: side.no_creds,
        creds_file: creds_file(access)?,
        authfile: access.authfile.clone(),
    })
}

/// The same for the two sides of a copy.
fn given_of_two(access: &Access, sides: &TwoSides) -> Result<[Given; 2], Error> {
    let creds_file = creds_file(access)?;
    let authfile = |own: &Option<std::path::PathBuf>| own.clone().or(access.authfile.clone());
    Ok([
        Given {
            creds: creds("--src-creds", sides.src_creds.as_ref())?,
            no_creds: sides.src_no_creds,
            creds_file: creds_file.clone(),
            authfile: authfile(&sides.src_authfile),
        },
        Given {
            creds: creds("--dest-creds", sides.dest_creds.as_ref())?,
            no_creds: sides.dest_no_creds,
            creds_file,
            authfile: authfile(&sides.dest_authfile),
        },
    ])
}

fn creds(
    flag: &'static str,
    value: Option<&secrecy::SecretString>,
) -> Result<Option<Creds>, Error> {
    value.map(|value| Creds::read(flag, value)).transpose()
}

fn creds_file(access: &Access) -> Result<Option<Arc<CredsFile>>, Error> {
    let file = access.creds_file.as_deref().map(CredsFile::open);
    Ok(file.transpose()?.map(Arc::new))
}

const fn tls(verifies: Option<bool>) -> Tls {
    match verifies {
        Some(false) => Tls::Unverified,
        Some(true) | None => Tls::Verified,
    }
}

/// The certificates for `registries`, and for whatever else the host's certs.d has some.
///
/// # Errors
///
/// When those for one of `registries` cannot be used. For others that matters only when they are met.
fn certificates<'a>(
    access: &Access,
    environment: &Environment,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<Certificates, Error> {
    let registries: BTreeSet<&Registry> = registries.into_iter().collect();
    let certificates = all_certificates(access, environment, registries.iter().copied())?;
    for registry in registries {
        if let Some(Err(why)) = certificates.hosts.get(registry.as_str()) {
            return Err(unusable(registry, why));
        }
    }
    Ok(certificates)
}

fn unusable(registry: &Registry, why: &str) -> Error {
    let what = format!("the certificates for `{registry}` cannot be used: {why}");
    Error::refused(&what)
}

/// The same, usable or not.
fn all_certificates<'a>(
    access: &Access,
    environment: &Environment,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<Certificates, Error> {
    let sources = certificates::Sources {
        authorities: &access.ca_files,
        folder: access.cert_dir.as_deref(),
        home: environment.home.as_deref().map(Path::new),
        root: Path::new(ROOT),
    };
    certificates::read(&sources, registries)
}

/// All settings of a client, source first.
fn settings(
    access: &Access,
    [source, destination]: [Party; 2],
    certificates: Certificates,
) -> Result<Settings, Error> {
    Ok(Settings {
        source,
        destination,
        certificates,
        proxies: proxies::read(&super::variable)?,
        stall_timeout: access.stall_timeout,
        rates: rates(&access.rates)?,
        bandwidth: access.limit_rate,
        ..Settings::default()
    })
}

/// What was asked for by `--rate`, once for each registry.
fn rates(given: &[(Registry, Rate)]) -> Result<HashMap<Registry, Rate>, Error> {
    let mut rates = HashMap::new();
    for (registry, rate) in given {
        if rates.insert(registry.clone(), *rate).is_some() {
            let what = format!("--rate is given twice for `{registry}`");
            return Err(Error::refused(&what));
        }
    }
    Ok(rates)
}

/// The same for a registry that is logged in to.
fn settings_of_one(
    access: &Access,
    environment: &Environment,
    registry: &Registry,
    credentials: Credentials,
) -> Result<Settings, Error> {
    let party = Party {
        credentials,
        tls: tls(access.tls_verify),
        ..Party::default()
    };
    let certificates = certificates(access, environment, [registry])?;
    settings(access, [party.clone(), party], certificates)
}

/// What the host's `registries.conf` says.
pub(super) fn registries() -> Result<Registries, Error> {
    Registries::read(&super::variable, Path::new(ROOT))
}
