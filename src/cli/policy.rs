//! The host's `policy.json`: where it is, and the keys it names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::limits::input::POLICY_BYTES_MAX;
use crate::policy::Policy;
use crate::runner::Gate;

use super::args::Copying;
use super::error::Error;
use super::{Environment, keys};

/// Where hosts keep theirs.
const OF_THE_HOST: &str = "/etc/containers/policy.json";

/// The policy that holds: the one named, else the user's, else the host's, else none; with the keys
/// that it names.
pub(super) fn gate(copying: &Copying, environment: &Environment) -> Result<Option<Gate>, Error> {
    if copying.insecure_policy {
        return Ok(None);
    }
    let users = environment
        .home
        .as_ref()
        .map(|home| Path::new(home).join(".config/containers/policy.json"));
    let habits = users.into_iter().chain([PathBuf::from(OF_THE_HOST)]);
    let policy =
        match &copying.policy {
            Some(path) => Some(read(path)?.ok_or_else(|| {
                Error::refused(&format!("there is no policy `{}`", path.display()))
            })?),
            None => habits
                .map(|path| read(&path))
                .find_map(Result::transpose)
                .transpose()?,
        };
    let Some(policy) = policy else {
        return Ok(None);
    };
    let files = policy
        .paths()
        .into_iter()
        .map(|path| (path.to_owned(), trusted(Path::new(path))))
        .collect();
    Ok(Some(Gate::new(policy, &files)))
}

/// A key or certificates that a policy names. That it is not there is an error only where it is asked for.
fn trusted(path: &Path) -> Result<Vec<u8>, String> {
    keys::bytes(path).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<Option<Policy>, Error> {
    let what = || format!("cannot read the policy `{}`", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::usage(&what(), &error)),
    };
    let mut bytes = Vec::new();
    file.take(POLICY_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::usage(&what(), &error))?;
    Policy::parse(&bytes).map(Some).map_err(|error| {
        Error::usage(&what(), &error).with_hint("`--insecure-policy` honours none")
    })
}
