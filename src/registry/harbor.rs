//! Harbor's projects, by its own API beside `/v2/` (Harbor API 2.0, as its API document has it).
//!
//! Harbor makes no project when something is pushed, and says of a missing one what looks like missing
//! rights (401), a fault of its own (500) or nothing there (404), by version.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use url::Url;

use crate::limits::answer::HARBOR_ANSWER_BYTES_MAX;
use crate::oci::Repository;

use super::auth::{Access, Challenge, Side};
use super::call::{Call, Payload, Proof};
use super::client::Client;
use super::error::{Error, ErrorKind};

/// What Harbor's token service calls itself in every challenge.
const SERVICE: &str = "harbor-registry";
/// What its health check answers with.
const PONG: &[u8] = b"Pong";

/// What Harbor says of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Project {
    /// It is there.
    There,
    /// It is not.
    Missing,
    /// Who asks may not know: robots often may not.
    Unknown,
}

/// What became of a project that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made, for nobody to read who is not let in.
    New,
    /// Somebody else has made it meanwhile.
    WasThere,
}

/// The project of a repository: the first of at least two parts of its path.
pub fn project_of(repository: &Repository) -> Option<&str> {
    Some(repository.path().split_once('/')?.0)
}

impl Client {
    /// Asks the registry of `repository`, a destination, for its challenge, where none is known yet.
    pub async fn greet(&self, repository: &Repository) {
        let call = self.root_call(repository, Access::PullPush);
        if self.transport.challenge(&call).is_none() {
            // What it says besides is no matter.
            drop(self.transport.send(call).await);
        }
    }

    /// Whether the registry of `repository`, a destination, is a Harbor: the challenge that it is known by says
    /// so, with the token service at the registry's own origin, and its own API answers. Costs nothing where
    /// the challenge is another one, or none is known yet.
    ///
    /// A Harbor is told the password itself by the requests that follow. One whose tokens come from elsewhere
    /// would not have it otherwise, so it is none; and nobody is told it for this question.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`], where it cannot be asked; an answer that is no Harbor's is none.
    pub async fn is_harbor(&self, repository: &Repository) -> Result<bool, Error> {
        let known = self.root_call(repository, Access::PullPush);
        let Some(Challenge::Bearer { realm, service }) = self.transport.challenge(&known) else {
            return Ok(false);
        };
        let url = self.api(repository, "ping").await?;
        if service.as_deref() != Some(SERVICE) || realm.origin() != url.origin() {
            return Ok(false);
        }
        let call = || Call {
            proof: Proof::None,
            ..self.api_call(repository, Method::GET, url.clone())
        };
        match self.transport.fetch(call, HARBOR_ANSWER_BYTES_MAX).await {
            Ok(answer) => Ok(answer.body.trim_ascii() == PONG),
            Err(error) if is_answer(&error.kind) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the project of `repository` is there; the registry is a Harbor.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`], where it cannot be asked.
    pub async fn project(&self, repository: &Repository) -> Result<Project, Error> {
        let Some(project) = project_of(repository) else {
            return Ok(Project::Missing);
        };
        let mut url = self.api(repository, "projects").await?;
        url.query_pairs_mut().append_pair("project_name", project);
        let call = self.api_call(repository, Method::HEAD, url);
        match self.transport.send(call).await {
            Ok(_) => Ok(Project::There),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(Project::Missing),
            Err(error) if is_answer(&error.kind) => Ok(Project::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Makes the project of `repository`, a private one; the registry is a Harbor.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Unauthorized`] where who asks may make none.
    pub async fn make_project(&self, repository: &Repository) -> Result<Made, Error> {
        let url = self.api(repository, "projects").await?;
        let project = project_of(repository).unwrap_or_default();
        let wish = json!({ "project_name": project, "metadata": { "public": "false" } });
        let mut call = self
            .api_call(repository, Method::POST, url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.payload = Payload::Bytes(wish.to_string().into());
        match self.transport.send(call).await {
            Ok(answer) if answer.response.status() == StatusCode::CREATED => Ok(Made::New),
            Ok(answer) => {
                Err(answer.error(ErrorKind::Protocol("it takes what it does not confirm")))
            }
            Err(error) if matches!(error.kind, ErrorKind::Conflict(_)) => Ok(Made::WasThere),
            Err(error) => Err(error),
        }
    }

    /// Where Harbor's own API is.
    async fn api(&self, repository: &Repository, what: &str) -> Result<Url, Error> {
        let mut url = self.transport.base(repository, Side::Destination).await?;
        url.set_path(&format!("/api/v2.0/{what}"));
        Ok(url)
    }

    fn api_call<'a>(&self, repository: &'a Repository, method: Method, url: Url) -> Call<'a> {
        let mut call = self.call(repository, Access::PullPush, method, String::new());
        call.scopes = Vec::new();
        // It takes no tokens of the registry.
        call.proof = Proof::Basic;
        call.to(url)
    }
}

/// Whether it is an answer all the same, though not the one that was hoped for.
const fn is_answer(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound(_)
            | ErrorKind::Refused(_)
            | ErrorKind::Unauthorized(_)
            | ErrorKind::CredentialRefused(_)
            | ErrorKind::Protocol(_)
            | ErrorKind::TooLong(_)
            | ErrorKind::Untrusted(_)
    )
}
