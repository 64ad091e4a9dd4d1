//! What can be wrong with a compose file.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::budget::Limit;
use crate::list;
use crate::oci;
use crate::text;

/// How much of a text from a file a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// What is wrong with a compose file, and where.
#[derive(Debug)]
pub struct Error {
    /// The file, as a person would name it.
    pub file: Arc<str>,
    /// The number of the line, from 1.
    pub line: usize,
    /// Where in the line, in characters, from 1.
    pub column: usize,
    /// The service that is concerned, fit for printing.
    pub service: Option<String>,
    /// What is wrong.
    pub reason: Box<Reason>,
}

/// What is wrong with a compose file, or with one of its services. All texts are fit for printing.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It could not be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// It names a file that could not be read.
    #[error("cannot read `{path}`: {error}")]
    Names {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// It is not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// It is no YAML.
    #[error("no YAML: {0}")]
    Yaml(String),
    /// A bound is passed.
    #[error("{0}")]
    Limit(Limit),
    /// A mapping has a key twice.
    #[error("the key `{key}` is there already, in line {line}")]
    Twice {
        /// The key.
        key: String,
        /// The line of the first.
        line: usize,
    },
    /// A key is no plain text.
    #[error("a key that is a mapping or a list")]
    Key,
    /// `<<` has something else than mappings.
    #[error("`<<` joins mappings, or a list of them, and nothing else")]
    MergeKey,
    /// An alias stands inside of what it names.
    #[error("an alias of what it stands in")]
    SelfAlias,
    /// A tag is not known.
    #[error("the tag `{0}` is not known; there are YAML's own, `!reset` and `!override`")]
    Tag(String),
    /// Something is not of the kind that it must be.
    #[error("`{what}` must be {wanted}, and is {found}")]
    Kind {
        /// The key.
        what: String,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A template cannot be read. Its text is not repeated: it may be that of a password.
    #[error("it is no template; a `$` that means itself is written `$$`")]
    Template,
    /// A variable must be set, and is not.
    #[error("the variable `{name}` must be set{}{message}", if .message.is_empty() { "" } else { ": " })]
    Required {
        /// The variable.
        name: String,
        /// What the file says of it.
        message: String,
    },
    /// A line of a file with variables cannot be read.
    #[error("{0}")]
    Dotenv(&'static str),
    /// The file has no services.
    #[error("no `services`, and nothing included")]
    NoServices,
    /// A service that is extended is not there.
    #[error("it extends `{0}`, which is not there")]
    NoBase(String),
    /// Services extend each other.
    #[error("it extends itself, by way of {0}")]
    ExtendsCircle(String),
    /// Files include each other.
    #[error("`{0}` includes itself")]
    IncludeCircle(String),
    /// A file is elsewhere.
    #[error("`{0}` is not a file of this machine; what is elsewhere is not fetched")]
    Remote(String),
    /// What is included defines a service that is there, in another way.
    #[error("the service `{0}` is there already, and what is included defines it in another way")]
    Conflict(String),
    /// A service has nothing to run.
    #[error("it has neither `image` nor `build`")]
    NoImage,
    /// A name of a service is none.
    #[error("the name of a service has letters, digits, `.`, `_` and `-`")]
    ServiceName,
    /// A service needs another one that does not run.
    #[error("it depends on `{0}`, which is not there or in a profile that is not chosen")]
    Depends(String),
    /// A project needs a name.
    #[error("the project has no name, which the image of a service that is only built begins with")]
    NoProject,
    /// The name of a project is none.
    #[error(
        "`{0}` is no name of a project: it has lower-case letters, digits, `-` and `_`, and begins with one of the first two"
    )]
    Project(String),
    /// The image is none.
    #[error("{0}")]
    Image(oci::Error),
    /// The image has blanks.
    #[error("`{0}` is no image")]
    Blanks(String),
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// A key looks like one of those that verify and sign, and is none.
    #[error("the key `{0}` is not known, and looks like one that verifies or signs")]
    Typo(String),
    /// The file of a key is not there.
    #[error("{0}")]
    NoKey(String),
    /// All of it does not fit into a line.
    #[error("{0}")]
    Line(list::Reason),
}

impl Reason {
    /// A reason that repeats something that is written in a file.
    pub(super) fn shown(text: &str) -> String {
        text::cleaned(text, SHOWN_CHARS_MAX)
    }
}

impl Error {
    /// What a person could do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        let reason = &*self.reason;
        if let Reason::Typo(_) = reason {
            return Some(
                "the keys are `x-nerdctl-verify`, `x-nerdctl-sign`, `x-nerdctl-cosign-public-key`, \
                 `x-nerdctl-cosign-private-key`, `x-nerdctl-cosign-certificate-identity[-regexp]` and \
                 `x-nerdctl-cosign-certificate-oidc-issuer[-regexp]`",
            );
        }
        if let Reason::Depends(_) = reason {
            return Some("`--profile NAME` chooses a profile, `--profile '*'` all of them");
        }
        if let Reason::NoProject = reason {
            return Some("`--project-name NAME` gives it one");
        }
        if let Reason::Remote(_) = reason {
            return Some("fetch it first, and name the file");
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if let Some(service) = &self.service {
            write!(f, "service `{service}`: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for Error {}
