//! Where credentials are looked for, and who answers.
//!
//! The order is that of containers/image as skopeo uses it (`image/pkg/docker/config`): a file that is
//! named is the only one; else podman's two places, Docker's file and the one before it, each asked in
//! turn until one has an entry. A file is read when it is its turn, and only then has to be sound.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::cli::Environment;
use crate::cli::error::Error;
use crate::oci::{Namespace, Registry, Repository};
use crate::registry::{Credential, Credentials};

use super::authfile::{AuthFile, Candidate, Field, Format};
use super::given::{Creds, CredsFile, Given};
use super::helper::{Helper, HelperError};

/// How many registries are looked up at once; each may run a helper.
const REGISTRIES_AT_ONCE: usize = 8;

/// The credentials of `repositories`, as one side of a run has them.
///
/// Every repository gets what the first place with an entry for it has; the entry is given for all that
/// it is written for. Helpers are asked once for each registry, and again when the registry refuses what
/// they gave.
///
/// # Errors
///
/// When a file that is named is not there, or one that is asked is broken; when a helper that has to
/// answer does not. Names the file or the helper, never what it holds.
pub(in crate::cli) async fn credentials<'a>(
    given: &Given,
    environment: &Environment,
    repositories: impl IntoIterator<Item = &'a Repository>,
) -> Result<Credentials, Error> {
    let mut by_registry: BTreeMap<&Registry, BTreeSet<&Repository>> = BTreeMap::new();
    for repository in repositories {
        let of_registry = by_registry.entry(repository.registry()).or_default();
        of_registry.insert(repository);
    }
    let search = Search::new(given, environment);
    let search = &search;
    let answers = futures::stream::iter(by_registry.into_values())
        .map(|repositories| async move {
            let mut answers = Vec::new();
            for repository in repositories {
                answers.extend(search.answer(&Namespace::from(repository)).await?);
            }
            Ok::<_, Error>(answers)
        })
        .buffered(REGISTRIES_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let mut credentials = Credentials::none();
    // One namespace has one answer: a place that has it for one repository covers all of it, and is asked
    // before all others for the next repository too.
    let mut given = BTreeSet::new();
    for answer in answers.into_iter().flatten() {
        if given.insert(answer.namespace.clone()) {
            tracing::debug!(namespace = %answer.namespace, from = %answer.source, "credential");
            answer.give_to(&mut credentials);
        }
    }
    Ok(credentials)
}

/// A place where credentials may be.
#[derive(Debug)]
pub(super) struct Place {
    /// What makes it a place: a flag, a variable, a habit.
    pub(super) why: &'static str,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// For every registry.
    Creds(Creds),
    CredsFile(Arc<CredsFile>),
    File(FilePlace),
}

/// A file that may be there.
#[derive(Debug)]
pub(super) struct FilePlace {
    pub(super) path: PathBuf,
    format: Format,
    /// Whether somebody named it; it has to be there then.
    is_named: bool,
    /// The variable that names it.
    variable: Option<&'static str>,
    read: OnceCell<Option<AuthFile>>,
}

impl FilePlace {
    fn new(path: PathBuf, format: Format, is_named: bool) -> Self {
        Self {
            path,
            format,
            is_named,
            variable: None,
            read: OnceCell::new(),
        }
    }

    /// The file at `path`, which `variable` names.
    fn by_variable(path: PathBuf, variable: &'static str) -> Self {
        Self {
            variable: Some(variable),
            ..Self::new(path, Format::Current, true)
        }
    }

    /// The file at `path`, which is about to be changed.
    pub(super) fn to_change(path: PathBuf, is_named: bool) -> Self {
        Self::new(path, Format::Current, is_named)
    }

    /// What is in it; nothing where it is not there and need not be.
    pub(super) fn read(&self) -> Result<Option<&AuthFile>, Error> {
        if let Some(read) = self.read.get() {
            return Ok(read.as_ref());
        }
        let read = if self.is_out_of_sight() {
            let file = self.path.display();
            tracing::warn!(%file, "cannot be looked for: its folder is closed to this user");
            None
        } else {
            AuthFile::read(&self.path, self.format)?
        };
        if read.is_none() && self.is_named {
            let by = self.variable.map(|name| format!(", which `{name}` names"));
            let (file, by) = (self.path.display(), by.unwrap_or_default());
            let what = format!("there is no file of credentials `{file}`{by}");
            return Err(Error::refused(&what));
        }
        Ok(self.read.get_or_init(|| read).as_ref())
    }

    /// Whether nobody named it and its folder is closed to this user: whoever is root may have made
    /// `/run/containers` for nobody else. A file that is there and closed is another matter.
    fn is_out_of_sight(&self) -> bool {
        let found = self.path.metadata();
        let is_closed = found.is_err_and(|why| why.kind() == io::ErrorKind::PermissionDenied);
        is_closed && !self.is_named
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }
}

/// The places of one side of a run, in order.
pub(super) fn places(given: &Given, environment: &Environment) -> Vec<Place> {
    let mut places = Vec::new();
    if given.no_creds {
        return places;
    }
    if let Some(creds) = &given.creds {
        let kind = Kind::Creds(creds.clone());
        places.push(Place {
            why: creds.flag,
            kind,
        });
    }
    if let Some(file) = &given.creds_file {
        let kind = Kind::CredsFile(Arc::clone(file));
        places.push(Place {
            why: "--creds-file",
            kind,
        });
    }
    places.extend(files(given.authfile.as_deref(), environment));
    places
}

/// The files that are asked, in order; `authfile` is what a flag names.
pub(super) fn files(authfile: Option<&Path>, environment: &Environment) -> Vec<Place> {
    let only = |why, file| {
        let kind = Kind::File(file);
        vec![Place { why, kind }]
    };
    if let Some(path) = authfile {
        let file = FilePlace::new(path.to_owned(), Format::Current, true);
        return only("--authfile", file);
    }
    if let Some(path) = &environment.registry_auth_file {
        let why = "REGISTRY_AUTH_FILE";
        return only(why, FilePlace::by_variable(path.into(), why));
    }
    let habit = |why, path: Option<PathBuf>, format| {
        let kind = Kind::File(FilePlace::new(path?, format, false));
        Some(Place { why, kind })
    };
    let home = |below: &str| Some(Path::new(environment.home.as_ref()?).join(below));
    let below = |folder: &OsString, below: &str| Path::new(folder).join(below);
    let runtime = match (&environment.runtime_dir, environment.uid) {
        (Some(folder), _) => Some(below(folder, "containers/auth.json")),
        (None, Some(uid)) => Some(format!("/run/containers/{uid}/auth.json").into()),
        (None, None) => None,
    };
    let config = match &environment.config_home {
        Some(folder) => Some(below(folder, "containers/auth.json")),
        None => home(".config/containers/auth.json"),
    };
    let (docker, docker_why) = match &environment.docker_config {
        Some(folder) => (Some(below(folder, "config.json")), "DOCKER_CONFIG"),
        None => (home(".docker/config.json"), "Docker"),
    };
    [
        habit("podman, until logout", runtime, Format::Current),
        habit("podman, kept", config, Format::Current),
        habit(docker_why, docker, Format::Current),
        habit("Docker, old", home(".dockercfg"), Format::Legacy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What answers for a namespace.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// What it is for.
    pub(super) namespace: Namespace,
    pub(super) credential: Credential,
    pub(super) source: Source,
    /// Who is asked again.
    helper: Option<(Helper, String)>,
}

impl Answer {
    /// One that stands written somewhere.
    const fn new(namespace: Namespace, credential: Credential, source: Source) -> Self {
        Self {
            namespace,
            credential,
            source,
            helper: None,
        }
    }

    /// The user, where there is one.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.credential {
            Credential::Password { user, .. } => Some(user),
            Credential::IdentityToken(_) => None,
        }
    }

    fn give_to(self, credentials: &mut Credentials) {
        let renew = self.helper.map(|(helper, server)| {
            let helper = Arc::new((helper, server));
            let renew: crate::registry::Renew = Arc::new(move || {
                let helper = Arc::clone(&helper);
                Box::pin(async move {
                    let (helper, server) = &*helper;
                    helper.get(server).await.map_err(|error| error.to_string())
                })
            });
            renew
        });
        credentials.give(self.namespace, self.credential, renew);
    }
}

/// Where an answer comes from: nothing that is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The flag or the file.
    pub(super) place: String,
    /// The key in the file.
    pub(super) key: Option<String>,
    /// The helper that was asked, without `docker-credential-`.
    pub(super) helper: Option<String>,
}

impl Source {
    fn of(place: String, key: Option<&str>) -> Self {
        Self {
            place,
            key: key.map(str::to_owned),
            helper: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = crate::text::cleaned(&self.place, 400);
        match (&self.helper, &self.key) {
            (Some(helper), Some(key)) => {
                write!(
                    f,
                    "docker-credential-{helper}, which `{place}` names for `{key}`"
                )
            }
            (Some(helper), None) => {
                write!(
                    f,
                    "docker-credential-{helper}, the `credsStore` of `{place}`"
                )
            }
            (None, Some(key)) => write!(f, "`{key}` in `{place}`"),
            (None, None) => f.write_str(&place),
        }
    }
}

/// A search through the places of one side of a run.
pub(super) struct Search {
    places: Vec<Place>,
    path: Option<OsString>,
    /// What helpers said, by their name and what they were asked for.
    said: RefCell<BTreeMap<(String, String), Option<Credential>>>,
}

impl Search {
    pub(super) fn new(given: &Given, environment: &Environment) -> Self {
        Self {
            places: places(given, environment),
            path: environment.path.clone(),
            said: RefCell::default(),
        }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The first answer for `asked`.
    pub(super) async fn answer(&self, asked: &Namespace) -> Result<Option<Answer>, Error> {
        for place in &self.places {
            if let Some(answer) = self.ask(place, asked).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The first answer for `asked` of the places that are asked before the file at `path`.
    pub(super) async fn before(
        &self,
        path: &Path,
        asked: &Namespace,
    ) -> Result<Option<Answer>, Error> {
        let is_it = |place: &&Place| matches!(&place.kind, Kind::File(file) if file.path == path);
        for place in self.places.iter().take_while(|place| !is_it(place)) {
            if let Some(answer) = self.ask(place, asked).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// What one place answers.
    pub(super) async fn ask(
        &self,
        place: &Place,
        asked: &Namespace,
    ) -> Result<Option<Answer>, Error> {
        match &place.kind {
            Kind::Creds(creds) => {
                let namespace = asked.registry().clone().into();
                let place = place.why.to_owned();
                let source = Source::of(place, None);
                Ok(Some(Answer::new(namespace, creds.credential(), source)))
            }
            Kind::CredsFile(file) => Ok(file.look(asked).map(|(namespace, line, credential)| {
                let place = format!("{}:{line}", file.name());
                let source = Source::of(place, Some(&namespace.to_string()));
                Answer::new(namespace.clone(), credential.clone(), source)
            })),
            Kind::File(file) => match file.read()? {
                Some(found) => self.ask_file(&file.path, found, asked).await,
                None => Ok(None),
            },
        }
    }

    async fn ask_file(
        &self,
        path: &Path,
        file: &AuthFile,
        asked: &Namespace,
    ) -> Result<Option<Answer>, Error> {
        let look = file.look(asked)?;
        let source = |key| Source::of(path.display().to_string(), key);
        for candidate in look.candidates {
            let (name, server, field) = match candidate {
                Candidate::Entry {
                    key,
                    namespace,
                    credential,
                } => {
                    return Ok(Some(Answer::new(namespace, credential, source(Some(key)))));
                }
                Candidate::Helper {
                    name,
                    server,
                    field,
                } => (name, server, field),
            };
            match self.ask_helper(name, &server).await {
                Ok(None) => {}
                Ok(Some((helper, credential))) => {
                    let key = (field == Field::CredHelpers).then_some(server.as_str());
                    let source = Source {
                        helper: Some(name.to_owned()),
                        ..source(key)
                    };
                    let namespace = asked.registry().clone().into();
                    return Ok(Some(Answer {
                        helper: Some((helper, server)),
                        ..Answer::new(namespace, credential, source)
                    }));
                }
                // The file of a desktop, copied to a server: nothing says that this registry was ever
                // logged in to.
                Err(error) if field == Field::CredsStore && !look.has_placeholder => {
                    tracing::warn!(registry = %asked.registry(), file = %path.display(), %error, "`credsStore` is passed over");
                    // Once is enough for all repositories of the registry.
                    let mut said = self.said.borrow_mut();
                    said.insert((name.to_owned(), server), None);
                }
                Err(error) => return Err(helper_error(path, &server, field, &error)),
            }
        }
        Ok(None)
    }

    async fn ask_helper(
        &self,
        name: &str,
        server: &str,
    ) -> Result<Option<(Helper, Credential)>, HelperError> {
        let key = (name.to_owned(), server.to_owned());
        let said = self.said.borrow().get(&key).cloned();
        if matches!(said, Some(None)) {
            return Ok(None);
        }
        let helper = self.find_helper(name)?;
        let said = if let Some(said) = said {
            said
        } else {
            let said = helper.get(server).await?;
            self.said.borrow_mut().insert(key, said.clone());
            said
        };
        Ok(said.map(|credential| (helper, credential)))
    }

    fn find_helper(&self, name: &str) -> Result<Helper, HelperError> {
        Helper::find(name, self.path.as_deref())
    }
}

/// What is said of a helper that had to do something for `server` and did not.
pub(super) fn helper_error(path: &Path, server: &str, field: Field, error: &HelperError) -> Error {
    let path = path.display();
    let what = format!("the credential of `{server}` is kept by the `{field}` of `{path}`");
    let new = Error::usage(&what, error);
    match error.hint(server) {
        Some(hint) => new.with_hint(&hint),
        None => new,
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
