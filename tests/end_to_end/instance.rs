//! A Sigstore instance of our own: a certificate authority, a certificate log and a transparency log,
//! with keys made for the trial, which nobody knows who is not told.
//!
//! ```ignore
//! let instance = Instance::new();
//! let files = instance.write(folder);                       // what others are to trust
//! let content = Form::Simple.content("reg/app", image.digest, &[("team", "web")]);
//! let signed = instance.recipe().flaw(Flaw::BadSet).sign(content);
//! put(&registry, "app", (Format::Tag, Form::Simple), &image, &[signed]).await;
//! let server = Server::start(instance).await;               // Fulcio and Rekor on loopback
//! ```
//!
//! - [`Recipe`] signs as a client with a certificate or a key does, without a request; [`Flaw`] has all
//!   that can be wrong, one point each.
//! - [`Form`] and [`put`] are how images carry it.
//! - [`Server`] answers clients; its registry's rules and log are those of any
//!   [`TestRegistry`](crate::registry::TestRegistry).

mod authority;
mod flaws;
mod keys;
mod log;
mod others;
mod products;
mod proof;
mod recipe;
mod server;
mod trust;

use libtest_mimic::Trial;

pub(crate) use flaws::{Flaw, Signer};
pub(crate) use keys::Key;
pub(crate) use others::{By, Client, UNLOGGED};
pub(crate) use products::{Content, FORMS, Form, Signed, put};
pub(crate) use recipe::{Identity, Recipe};
pub(crate) use server::{Mischief, Server, email_token, job_token, job_token_for};
pub(crate) use trust::Files;

use authority::Authority;
use log::Log;

/// The usual signer: a job of GitLab.
pub(crate) const JOB: &str =
    "https://gitlab.instance.test/apps/web//.gitlab-ci.yml@refs/heads/main";
/// Who vouches for it.
pub(crate) const ISSUER: &str = "https://gitlab.instance.test";

pub(crate) fn trials() -> Vec<Trial> {
    [proof::trials(), others::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Instance {
    authority: Authority,
    /// The key of the certificate log.
    promises: Key,
    log: Log,
    /// Another authority of the same names, which is not to be trusted.
    other: Authority,
    /// Another log of the same name, which is not to be trusted.
    foreign: Log,
}

impl Instance {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::new(),
            promises: Key::generate(),
            log: Log::new(),
            other: Authority::new(),
            foreign: Log::new(),
        }
    }

    /// A signature to be made.
    pub(crate) fn recipe(&self) -> Recipe<'_> {
        Recipe::new(self)
    }
}
