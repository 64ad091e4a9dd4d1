//! The host's `policy.json`: where it is, and what it means for a plan.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::plan::{JobId, Plan};
use crate::policy::{POLICY_BYTES_MAX, Policy, Unmet};

use super::Environment;
use super::args::Copying;
use super::error::Error;

/// Where hosts keep theirs.
const OF_THE_HOST: &str = "/etc/containers/policy.json";

/// What the policy refuses of `plan`: the one named, else the user's, else the host's, else none.
pub(super) fn refusals(
    copying: &Copying,
    environment: &Environment,
    plan: &Plan,
) -> Result<HashMap<JobId, Unmet>, Error> {
    if copying.insecure_policy {
        return Ok(HashMap::new());
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
        return Ok(HashMap::new());
    };
    Ok(plan
        .jobs()
        .iter()
        .filter_map(|job| Some((job.id, policy.check(&job.source).err()?)))
        .collect())
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
