//! The edge: flags, environment, files, signals, wiring, exit codes.
//!
//! Everything that belongs to this machine is read here and handed down as values.

mod access;
mod args;
mod copy;
mod error;
mod inspect;
mod lists;
mod mirror;
mod policy;
mod serve;
mod signals;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command, General, LogFormat};
use error::Error;

/// What the process is told from outside: read once, handed down.
#[derive(Debug)]
struct Environment {
    home: Option<OsString>,
    docker_config: Option<OsString>,
    registry_auth_file: Option<OsString>,
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
            has_no_color: nonempty("NO_COLOR").is_some(),
            is_terminal: io::stderr().is_terminal() && !dumb,
        }
    }
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
            drop(error.print());
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
            Command::Plan(mut args) => {
                args.dry_run = true;
                Box::pin(mirror::mirror(*args, &general, &environment)).await
            }
            Command::Inspect(args) => inspect::inspect(args, &environment).await,
            Command::ListTags(args) => inspect::list_tags(args, &environment).await,
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
const LATER_FLAGS: [&str; 24] = [
    "--registry",
    "--project",
    "--key",
    "-k",
    "-p",
    "--passphrase-file",
    "--sigstore-key",
    "--sigstore-pubkey",
    "--sign-identity",
    "--sign-rejected",
    "--signature-format",
    "--signed-identity",
    "--exact-repository",
    "--subjects",
    "--annotations",
    "--authfile",
    "--src-creds",
    "--dest-creds",
    "--creds-file",
    "--ca-file",
    "--src-tls-verify",
    "--dest-tls-verify",
    "--verify",
    "validate",
];

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
    is_later.then(|| Error::refused(&format!("`{word}` is not there yet")))
}

/// Commands of later versions, refused by name.
const LATER: [&str; 20] = [
    "sign",
    "validate",
    "verify",
    "generate-key",
    "generate-sigstore-key",
    "signv1",
    "save",
    "load",
    "sync",
    "archive",
    "compare",
    "delete",
    "merge-manifest",
    "convert-list",
    "login",
    "logout",
    "auth",
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
        Error::refused(&format!("there is no command `{shown}`"))
            .with_hint("`consign help` lists the commands")
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

/// Sets up the log of what the program does: off unless asked for.
fn log(general: &General) {
    let default = if general.debug {
        "consign=debug"
    } else {
        "consign=warn"
    };
    let filter = EnvFilter::new(default);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    match general.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
