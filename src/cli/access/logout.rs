//! `consign logout`: what is kept of a registry is forgotten, in every place that would answer for it.

use std::path::Path;

use crate::cli::args::LogoutArgs;
use crate::cli::error::Error;
use crate::cli::{Environment, print};
use crate::oci::Namespace;

use super::authfile::{Field, server_name};
use super::helper::{Erased, Helper, HelperError};
use super::login::Target;
use super::search::{FilePlace, Kind, files, helper_error};
use super::store;

/// The longest line that is printed, in characters.
const LINE_CHARS_MAX: usize = 1000;

/// `consign logout`. Not to be logged in is no error.
///
/// # Errors
///
/// When a file cannot be read or changed, or, with code 1, when a helper does not do its part; after all
/// the rest is done.
pub(in crate::cli) async fn logout(
    args: &LogoutArgs,
    environment: &Environment,
) -> Result<u8, Error> {
    let (authfile, compatible) = (args.authfile.as_deref(), args.compat_auth_file.as_deref());
    let mut work = Work {
        environment,
        said: Vec::new(),
        stays: Vec::new(),
        failed: None,
    };
    if let Some(namespace) = &args.registry {
        for place in files(authfile.or(compatible), environment) {
            if let Kind::File(file) = &place.kind
                && let Err(error) = work.forget(file, namespace).await
            {
                // The other files can be cleared all the same.
                work.failed.get_or_insert(error);
            }
        }
        if work.said.is_empty() && work.failed.is_none() {
            work.said.push(format!("Not logged in to `{namespace}`"));
        }
    } else {
        let target = Target::of(authfile, compatible, environment)?;
        let file = FilePlace::to_change(target.path, authfile.or(compatible).is_some());
        work.forget_all(&file).await?;
    }
    let lines = work.said.iter().chain(&work.stays);
    let lines = lines.map(|line| crate::text::cleaned(line, LINE_CHARS_MAX));
    for line in lines {
        print(&format!("{line}\n"))?;
    }
    work.failed.map_or(Ok(0), Err)
}

struct Work<'a> {
    environment: &'a Environment,
    /// What was done.
    said: Vec<String>,
    /// What was not meant.
    stays: Vec<String>,
    /// The first thing that went wrong.
    failed: Option<Error>,
}

impl Work<'_> {
    /// Forgets exactly `namespace` in one file, and with its helper.
    async fn forget(&mut self, place: &FilePlace, namespace: &Namespace) -> Result<(), Error> {
        let Some(file) = place.read()? else {
            return Ok(());
        };
        let registry = namespace.registry();
        if namespace.path().is_none() {
            if let Some((name, server)) = file.helper(registry) {
                self.erase(place, name, server, Field::CredHelpers).await;
            }
            if let Some(name) = file.store() {
                let server = server_name(registry);
                let failed = self.failed.take();
                self.erase(place, name, &server, Field::CredsStore).await;
                let is_kept_there = file.placeholders().any(|other| other == registry);
                // The store of another machine has nothing of a registry that was never logged in to.
                self.failed = failed.or(self.failed.take().filter(|_| is_kept_there));
            }
        }
        if file.has(namespace) {
            let path = &place.path;
            let keys = store::change(path, place.format(), |entries| Ok(entries.take(namespace)));
            for key in keys.await? {
                let path = path.display();
                self.said.push(format!("Removed `{key}` from `{path}`"));
            }
        }
        if namespace.path().is_none() {
            for below in file.namespaces(registry) {
                let path = place.path.display();
                self.stays.push(format!(
                    "`{below}` in `{path}` is an entry of its own and stays"
                ));
            }
        }
        Ok(())
    }

    /// Forgets everything in one file, and what helpers keep of it.
    async fn forget_all(&mut self, place: &FilePlace) -> Result<(), Error> {
        let path = place.path.display();
        let Some(file) = place.read()? else {
            self.said
                .push(format!("Not logged in: there is no `{path}`"));
            return Ok(());
        };
        for (server, name) in file.helpers() {
            self.erase(place, name, server, Field::CredHelpers).await;
        }
        if let Some(name) = file.store() {
            for registry in file.placeholders() {
                let server = server_name(registry);
                self.erase(place, name, &server, Field::CredsStore).await;
            }
        }
        let keys = store::change(
            &place.path,
            place.format(),
            |entries| Ok(entries.take_all()),
        );
        for key in keys.await? {
            self.said.push(format!("Removed `{key}` from `{path}`"));
        }
        if self.said.is_empty() && self.failed.is_none() {
            self.said
                .push(format!("Not logged in: `{path}` has no entries"));
        }
        Ok(())
    }

    /// Makes a helper forget a registry of which it has something.
    async fn erase(&mut self, place: &FilePlace, name: &str, server: &str, field: Field) {
        match self.erase_at(name, server).await {
            Ok(Erased::Gone) => {
                self.said
                    .push(format!("Removed `{server}` from docker-credential-{name}"));
            }
            Ok(Erased::WasNotThere) => {}
            Err(error) => {
                let path: &Path = &place.path;
                let failed = helper_error(path, server, field, &error).with_code(1);
                self.failed.get_or_insert(failed);
            }
        }
    }

    async fn erase_at(&self, name: &str, server: &str) -> Result<Erased, HelperError> {
        let helper = Helper::find(name, self.environment.path.as_deref())?;
        // Most helpers are content to erase what they do not have.
        match helper.get(server).await? {
            Some(_) => helper.erase(server).await,
            None => Ok(Erased::WasNotThere),
        }
    }
}
