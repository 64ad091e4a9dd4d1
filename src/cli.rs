//! The edge: flags, environment, files, signals, wiring, exit codes.
//!
//! Everything that belongs to this machine is read here and handed down as values.

mod access;
mod args;
mod cache;
mod compose;
mod copy;
mod error;
mod generate_key;
mod inspect;
mod keyless;
mod keys;
mod lists;
mod log;
mod mirror;
mod passphrase;
mod policy;
mod run;
mod serve;
mod sign;
mod signals;
mod trust;

#[cfg(any(test, fuzzing))]
pub(crate) use access::fuzzing;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use secrecy::SecretString;

use crate::oci::Reference;

use args::{BelowAuth, BelowSign, Cli, Command};
use error::Error;
use log::log;

/// Variables that are for this program alone: neither helpers nor files that others wrote get at them.
const SECRETS: [&str; 2] = ["COSIGN_PASSWORD", "SIGSTORE_ID_TOKEN"];

/// What the process is told from outside: read once, handed down.
#[derive(Debug)]
struct Environment {
    home: Option<OsString>,
    docker_config: Option<OsString>,
    registry_auth_file: Option<OsString>,
    /// `XDG_RUNTIME_DIR`.
    runtime_dir: Option<OsString>,
    /// `XDG_CONFIG_HOME`.
    config_home: Option<OsString>,
    /// `XDG_CACHE_HOME`.
    cache_home: Option<OsString>,
    /// The number of the user.
    uid: Option<u32>,
    /// Where programs are.
    path: Option<OsString>,
    /// The passphrase of the private key; there and empty means that it is empty.
    cosign_password: Option<SecretString>,
    /// What cosign's variables name to be trusted.
    sigstore: trust::Variables,
    /// `SIGSTORE_ID_TOKEN`.
    identity_token: Option<SecretString>,
    /// `COSIGN_YES`.
    cosign_yes: Option<String>,
    /// `COSIGN_REPOSITORY`, by which cosign has signatures elsewhere; it is told that we do not.
    cosign_repository: Option<OsString>,
    temporary: PathBuf,
    has_no_color: bool,
    is_terminal: bool,
}

impl Environment {
    fn read() -> Self {
        let nonempty = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = nonempty("TERM").is_some_and(|term| term == "dumb");
        Self {
            home: nonempty("HOME"),
            docker_config: nonempty("DOCKER_CONFIG"),
            registry_auth_file: nonempty("REGISTRY_AUTH_FILE"),
            runtime_dir: nonempty("XDG_RUNTIME_DIR"),
            config_home: nonempty("XDG_CONFIG_HOME"),
            cache_home: nonempty("XDG_CACHE_HOME"),
            uid: std::fs::metadata("/proc/self").ok().map(|own| own.uid()),
            path: nonempty("PATH"),
            cosign_password: std::env::var("COSIGN_PASSWORD").ok().map(Into::into),
            sigstore: trust::Variables {
                roots: nonempty("SIGSTORE_ROOT_FILE").map(PathBuf::from),
                log: nonempty("SIGSTORE_REKOR_PUBLIC_KEY").map(PathBuf::from),
                certificate_log: nonempty("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE").map(PathBuf::from),
                timestamps: nonempty("SIGSTORE_TSA_CERTIFICATE_FILE").map(PathBuf::from),
            },
            identity_token: std::env::var("SIGSTORE_ID_TOKEN")
                .ok()
                .filter(|text| !text.trim().is_empty())
                .map(Into::into),
            cosign_yes: std::env::var("COSIGN_YES")
                .ok()
                .filter(|text| !text.is_empty()),
            cosign_repository: nonempty("COSIGN_REPOSITORY"),
            temporary: std::env::temp_dir(),
            has_no_color: nonempty("NO_COLOR").is_some(),
            is_terminal: io::stderr().is_terminal() && !dumb,
        }
    }
}

impl Environment {
    /// Where processes of this user keep their locks: below the home, which is the same in every
    /// shell and for every job of the user; else below the folder for temporary files.
    fn locks(&self) -> Option<PathBuf> {
        let folder = if let Some(home) = &self.home {
            Path::new(home).join(".cache/consign/locks")
        } else {
            let user = self.uid?;
            self.temporary.join(format!("consign-{user}/locks"))
        };
        match std::fs::create_dir_all(folder.parent()?) {
            Ok(()) => Some(folder),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "no locks between processes");
                None
            }
        }
    }
}

/// What the environment has under a name.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Runs the program: reads the command line, does it, and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(later) = later(&error) {
                drop(write!(io::stderr().lock(), "{later}"));
                return ExitCode::from(later.code());
            }
            // Help and version go to stdout with 0, mistakes to stderr with 2.
            match masked(&error) {
                Some(text) => drop(write!(io::stderr().lock(), "{text}")),
                None => drop(error.print()),
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    log(&cli.general);
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            drop(write!(io::stderr().lock(), "{error}"));
            ExitCode::from(error.code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, Error> {
    let environment = Environment::read();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::usage("cannot start", &error))?;
    let general = cli.general;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Mirror(args) => Box::pin(mirror::mirror(*args, &general, &environment)).await,
            Command::Copy(args) => Box::pin(copy::copy(*args, &general, &environment)).await,
            Command::Sign(command) => match (command.below, command.args) {
                (Some(BelowSign::Validate(args)), _) => {
                    // Hangar's name for the list of what did not end well.
                    let failed = "sign-failed.txt";
                    Box::pin(sign::validate(*args, failed, &general, &environment)).await
                }
                (None, args) => Box::pin(sign::sign(args, &general, &environment)).await,
            },
            Command::Validate(args) => {
                let failed = "validate-failed.txt";
                Box::pin(sign::validate(*args, failed, &general, &environment)).await
            }
            Command::GenerateKey(args) => generate_key::generate_key(&args, &environment),
            Command::Plan(mut args) => {
                args.dry_run = true;
                Box::pin(mirror::mirror(*args, &general, &environment)).await
            }
            Command::Inspect(args) => inspect::inspect(args, &environment).await,
            Command::ListTags(args) => inspect::list_tags(args, &environment).await,
            Command::Login(args) => Box::pin(access::login(&args, &environment)).await,
            Command::Logout(args) => access::logout(&args, &environment).await,
            Command::Auth { below } => match below {
                BelowAuth::Explain(args) => {
                    let given = access::given(&args.access, &args.side)?;
                    access::explain(&args, &given, &environment).await
                }
            },
            Command::Serve(args) => serve::serve(args).await,
            Command::Version => {
                print(concat!("consign ", env!("CARGO_PKG_VERSION"), "\n"))?;
                Ok(0)
            }
            Command::Other(words) => Err(unknown(&words)),
        }
    });
    // Whatever still hangs, a name look-up for instance, must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Flags of later versions, refused by name.
const LATER_FLAGS: [&str; 1] = [
    // Hangar's `mirror validate` compares digests.
    "validate",
];

/// What clap says of a mistake, without the values in it that may be secrets: a name with a user and a
/// password in front, and what was given to a flag that takes no value, or as a word too many.
fn masked(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let kind = error.kind();
    let is_of_flag = matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let where_it_is = if is_of_flag || kind == ErrorKind::TooManyValues {
        ContextKind::InvalidValue
    } else if kind == ErrorKind::UnknownArgument {
        ContextKind::InvalidArg
    } else {
        return None;
    };
    let ContextValue::String(value) = error.get(where_it_is)? else {
        return None;
    };
    let is_secret = if is_of_flag {
        has_password(value)
    } else {
        // A flag that is not known is told; what follows it, or stands alone, may be anything.
        !value.starts_with('-') || value.contains('=')
    };
    if !is_secret || value.is_empty() {
        return None;
    }
    let shown = match value.split_once('=') {
        Some((flag, _)) if flag.starts_with('-') => format!("{flag}=***"),
        _ => "***".to_owned(),
    };
    Some(error.render().to_string().replace(value.as_str(), &shown))
}

/// Whether a name has a user and a password in front of its host: `USER:PASSWORD@HOST`.
fn has_password(name: &str) -> bool {
    let Some((before, after)) = name.rsplit_once('@') else {
        return false;
    };
    // What follows the `@` of an image is a digest.
    let is_digest = after.starts_with("sha256:") || after.starts_with("sha512:");
    before.contains(':') && !is_digest
}

/// What is said of a flag or word that clap does not know, but a later version will.
fn later(error: &clap::Error) -> Option<Error> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if !matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    ) {
        return None;
    }
    let word = error
        .get(ContextKind::InvalidArg)
        .or_else(|| error.get(ContextKind::InvalidSubcommand));
    let Some(ContextValue::String(word)) = word else {
        return None;
    };
    let word = word.split(['=', ' ']).next().unwrap_or_default();
    let is_later = LATER_FLAGS.contains(&word) || LATER.contains(&word);
    if is_later {
        return Some(Error::refused(&format!("`{word}` is not there yet")));
    }
    if ["-f", "--file"].contains(&word) {
        return Some(
            Error::refused(&format!("`{word}` is not there: this command reads no list"))
                .with_hint("`consign mirror -f LIST -d REGISTRY` copies the images of lists; `plan`, `sign` and `validate` read them too"),
        );
    }
    // cosign's users give the image itself.
    let is_image = word.contains(['/', ':']) && word.parse::<Reference>().is_ok();
    is_image.then(|| {
        let word = crate::text::cleaned(word, 300);
        Error::refused(&format!("images are given as lists, not as `{word}`"))
            .with_hint(&format!(
                "`consign copy {word} DESTINATION` copies one image"
            ))
            .with_hint(&format!("a list of one: `echo {word} | consign … -f -`"))
    })
}

/// Commands of later versions, refused by name.
const LATER: [&str; 11] = [
    "save",
    "load",
    "sync",
    "archive",
    "compare",
    "delete",
    "merge-manifest",
    "convert-list",
    "report",
    "completion",
    "generate-list",
];

fn unknown(words: &[String]) -> Error {
    let word = words.first().map_or("", String::as_str);
    let shown = crate::text::cleaned(word, 60);
    if LATER.contains(&word) {
        Error::refused(&format!("`consign {shown}` is not there yet"))
    } else {
        let instead = args::instead_of_command(word);
        Error::refused(&format!("there is no command `{shown}`"))
            .with_hint(instead.unwrap_or("`consign help` lists the commands"))
    }
}

/// Writes data to stdout. A reader that went away is no error: it had what it wanted.
fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::usage("cannot write to standard output", &error))
        }
        _ => Ok(()),
    }
}
