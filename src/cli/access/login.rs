//! `consign login`: a user and a password are proven at the registry, and kept where other tools find them.
//!
//! The password goes to the registry, and into the file or to the helper, and nowhere else. Nothing is
//! written before the registry has taken it.

use std::io;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::args::LoginArgs;
use crate::cli::error::Error;
use crate::cli::{Environment, inspect, print};
use crate::event::Stage;
use crate::limits::input::LOGIN_INPUT_BYTES_MAX;
use crate::oci::{Namespace, Registry, Repository};
use crate::registry::{Access, Client, Credential, Credentials, ErrorKind, Side};
use crate::report::hint_at;
use crate::transfer::blamed;

use super::authfile::{AuthFile, Field, Format, bytes_of, server_name};
use super::given::{Given, ask_password};
use super::helper::Helper;
use super::search::{Search, helper_error};
use super::{explain, settings_of_one, store};

/// `consign login`.
///
/// # Errors
///
/// Ends with 1 when the registry does not take the password, with 4 when it gives no answer, and with 2
/// when nothing was tried. Nothing is written then.
pub(in crate::cli) async fn login(
    args: &LoginArgs,
    environment: &Environment,
) -> Result<u8, Error> {
    if args.access.creds_file.is_some() {
        return Err(Error::refused(
            "`login` writes no `--creds-file`; `--authfile` names a file",
        ));
    }
    let authfile = args.compat_auth_file.as_ref();
    let given = Given {
        authfile: authfile.or(args.access.authfile.as_ref()).cloned(),
        ..Given::default()
    };
    if args.get_login {
        return get_login(&args.registry, &given, environment).await;
    }
    let target = Target::find(args, environment)?;
    let keeper = Keeper::find(&args.registry, &target, environment)?;
    let (user, password) = user_and_password(args)?;
    let work = async {
        prove(args, environment, &user, &password).await?;
        keeper.keep(&args.registry, &user, &password).await
    };
    match args.timeout.0 {
        None => work.await?,
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| {
            let limit = humantime::format_duration(limit);
            Error::refused(&format!("the login took longer than {limit}")).with_code(4)
        })??,
    }
    let shown = crate::text::cleaned(&user, 200);
    let place = keeper.shown();
    print(&format!(
        "Login Succeeded: `{shown}` at `{}`, kept {place}\n",
        args.registry
    ))?;
    warn_of_others(args, &target, &given, environment).await;
    if args.verbose {
        print(&explain::credentials_text(&args.registry, &given, environment).await)?;
    }
    Ok(0)
}

/// Prints who is logged in.
async fn get_login(
    asked: &Namespace,
    given: &Given,
    environment: &Environment,
) -> Result<u8, Error> {
    let answer = Search::new(given, environment).answer(asked).await?;
    let Some(answer) = answer else {
        return Err(Error::refused(&format!("not logged in to `{asked}`")).with_code(1));
    };
    let user = answer.user().unwrap_or("<token>");
    print(&format!("{}\n", crate::text::cleaned(user, 200)))?;
    Ok(0)
}

/// The file that is written.
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Whether Docker reads it too.
    is_dockers: bool,
}

impl Target {
    fn find(args: &LoginArgs, environment: &Environment) -> Result<Self, Error> {
        let authfile = args.access.authfile.as_deref();
        Self::of(authfile, args.compat_auth_file.as_deref(), environment)
    }

    /// `--authfile` or `--compat-auth-file`, else `REGISTRY_AUTH_FILE`, else Docker's file.
    pub(super) fn of(
        authfile: Option<&Path>,
        compatible: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let named = authfile.or(environment.registry_auth_file.as_deref().map(Path::new));
        if let (None, Some(path)) = (compatible, named) {
            return Ok(Self {
                path: path.to_owned(),
                is_dockers: false,
            });
        }
        let home = environment.home.as_ref();
        let folder = match &environment.docker_config {
            Some(folder) => Some(PathBuf::from(folder)),
            None => home.map(|home| Path::new(home).join(".docker")),
        };
        let path = match (compatible, folder) {
            (Some(path), _) => path.to_owned(),
            (None, Some(folder)) => folder.join("config.json"),
            (None, None) => {
                return Err(Error::refused("there is no home to keep the credential in")
                    .with_hint("`--authfile FILE` names a file"));
            }
        };
        Ok(Self {
            path,
            is_dockers: true,
        })
    }

    /// What is in it; nothing where it is not there, or empty.
    fn read(&self) -> Result<Option<AuthFile>, Error> {
        match bytes_of(&self.path)? {
            Some(bytes) if !bytes.trim_ascii().is_empty() => {
                AuthFile::parse(&self.path, Format::Current, &bytes).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// Who keeps the secret.
enum Keeper {
    File(PathBuf),
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        name: String,
        server: String,
        field: Field,
        helper: Helper,
    },
}

impl Keeper {
    fn find(
        namespace: &Namespace,
        target: &Target,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let path = &target.path;
        let file = target.read()?;
        let registry = namespace.registry();
        let named = file.as_ref().and_then(|file| {
            let own = file.helper(registry);
            let own = own.map(|(name, server)| (name, server.to_owned(), Field::CredHelpers));
            own.or_else(|| Some((file.store()?, server_name(registry), Field::CredsStore)))
        });
        let Some((name, server, field)) = named else {
            return Ok(Self::File(path.clone()));
        };
        if namespace.path().is_some() {
            let what = format!(
                "`{}` gives the secrets of `{registry}` to a helper (`{field}`), and helpers know no namespaces",
                path.display()
            );
            return Err(Error::refused(&what).with_hint("`--authfile FILE` names another file"));
        }
        let helper = Helper::find(name, environment.path.as_deref())
            .map_err(|error| helper_error(path, &server, field, &error))?;
        Ok(Self::Helper {
            path: path.clone(),
            name: name.to_owned(),
            server,
            field,
            helper,
        })
    }

    async fn keep(
        &self,
        namespace: &Namespace,
        user: &str,
        password: &SecretString,
    ) -> Result<(), Error> {
        match self {
            Self::File(path) => {
                let put = |entries: &mut store::Entries| entries.put(namespace, user, password);
                store::change(path, Format::Current, put).await
            }
            Self::Helper {
                path,
                server,
                field,
                helper,
                ..
            } => {
                let stored = helper.store(server, user, password).await;
                stored.map_err(|error| helper_error(path, server, *field, &error).with_code(1))?;
                // What stood in the file before would be the secret of yesterday.
                store::change(path, Format::Current, |entries| match field {
                    Field::CredHelpers => {
                        entries.take(namespace);
                        Ok(())
                    }
                    Field::CredsStore => entries.put_placeholder(namespace),
                })
                .await
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::File(path) => format!(
                "in `{}`",
                crate::text::cleaned(&path.to_string_lossy(), 400)
            ),
            Self::Helper { name, .. } => format!("by docker-credential-{name}"),
        }
    }
}

/// The user and the password: from flags and standard input, else from a person on a terminal.
fn user_and_password(args: &LoginArgs) -> Result<(String, SecretString), Error> {
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask_user(&args.registry)?,
    };
    if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
        let what = "the user is empty, or has a colon or control characters, which no user has";
        return Err(Error::refused(what));
    }
    let password = if args.password.password_stdin {
        read_password(io::stdin().lock())?
    } else if let Some(password) = &args.password.password {
        warn(
            "a password on the command line is seen in the list of processes and in the history of the shell; with `--password-stdin` it is not",
        );
        password.clone()
    } else {
        let registry = &args.registry;
        ask_password(&format!("Password for `{user}` at `{registry}`: "))
            .map_err(|error| error.with_hint("give `--password-stdin`"))?
    };
    if password.expose_secret().is_empty() {
        return Err(Error::refused("the password is empty"));
    }
    Ok((user, password))
}

fn ask_user(registry: &Namespace) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return Err(
            Error::refused("there is no user, and no terminal to ask for one")
                .with_hint("give `--username USER --password-stdin`"),
        );
    }
    let fail = |error: io::Error| Error::usage("cannot ask for the user", &error);
    let mut err = io::stderr().lock();
    write!(err, "User at `{registry}`: ")
        .and_then(|()| err.flush())
        .map_err(fail)?;
    let mut user = String::new();
    io::stdin().read_line(&mut user).map_err(fail)?;
    Ok(user.trim().to_owned())
}

/// What is on `input`, without one line end.
fn read_password(input: impl io::Read) -> Result<SecretString, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    input
        .take(LOGIN_INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::usage("cannot read the password from standard input", &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LOGIN_INPUT_BYTES_MAX) {
        return Err(Error::refused(
            "standard input has more than 64 KiB, which no password has",
        ));
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|_| Error::refused("the password on standard input is not UTF-8"))?;
    Ok(text.into())
}

/// Shows user and password to the registry.
async fn prove(
    args: &LoginArgs,
    environment: &Environment,
    user: &str,
    password: &SecretString,
) -> Result<(), Error> {
    let registry = args.registry.registry();
    let mut credentials = Credentials::none();
    let credential = Credential::Password {
        user: user.to_owned(),
        password: password.clone(),
    };
    credentials.give(args.registry.clone(), credential, None);
    let mut settings = settings_of_one(&args.access, environment, registry, credentials)?;
    settings.retry.attempts = args.retry_times.saturating_add(1);
    let repository = asked_for(registry, args.registry.path())?;
    // The registry itself is meant, and none of its mirrors.
    let client = Client::new(settings).on(Side::Destination);
    let taken = client.prove(&repository, Access::Pull).await;
    taken.map_err(|error| {
        let is_refused = matches!(
            error.kind,
            ErrorKind::Unauthorized(_) | ErrorKind::CredentialRefused(_)
        );
        let what = if is_refused {
            format!("`{registry}` does not take this user and password")
        } else {
            format!("cannot log in to `{registry}`")
        };
        let new = Error::usage(&what, &error)
            .with_code(inspect::code_of(&error))
            .with_hint("nothing was written");
        if is_refused {
            return new;
        }
        let failure = blamed(Stage::Preflight, None, &error);
        match hint_at(&repository, &failure) {
            Some(hint) => new.with_hint(&hint),
            None => new,
        }
    })
}

/// A repository in whose name the registry is asked; of a registry as a whole any will do.
fn asked_for(registry: &Registry, path: Option<&str>) -> Result<Repository, Error> {
    Repository::new(registry.clone(), path.unwrap_or("login"))
        .map_err(|error| Error::usage("this namespace cannot be asked for", &error))
}

/// Says where the new credential will not be found.
async fn warn_of_others(
    args: &LoginArgs,
    target: &Target,
    given: &Given,
    environment: &Environment,
) {
    let namespace = &args.registry;
    if namespace.path().is_some() && target.is_dockers {
        let registry = namespace.registry();
        warn(&format!(
            "Docker and crane know no namespaces, and may use this credential for all of `{registry}`"
        ));
    }
    let search = Search::new(given, environment);
    match search.before(&target.path, namespace).await {
        Ok(None) => {}
        Ok(Some(answer)) => {
            let source = answer.source;
            warn(&format!(
                "{source} is asked first and still answers for `{namespace}`: what was kept now is not used; `consign \
                 logout {namespace}` forgets both, and the next login counts"
            ));
        }
        Err(error) => warn(&format!("a place that is asked first is broken: {error}")),
    }
}

/// Tells a person what is no error.
fn warn(text: &str) {
    let text = crate::text::cleaned(text, 1000);
    drop(writeln!(io::stderr().lock(), "warning: {text}"));
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
