//! What a token says that it allows.
//!
//! A token service gives a token for less than was asked for rather than none, and the registry says no only
//! when something is sent. Many tokens are JSON Web Tokens and say themselves what they are for (Docker
//! token specification, "Claim Set": `access`); what they say is read and proves nothing, for it is the
//! registry that decides.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::oci::Repository;

use super::auth::{Access, Challenge};
use super::client::Client;
use super::error::{Error, ErrorKind, Words};

/// What a token says that it is for.
#[derive(Deserialize)]
struct Claims {
    access: Option<Vec<Granted>>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
}

impl Client {
    /// Whether `repository`, a destination, may be pushed to, as far as a token tells: asks for the token
    /// that the first push needs, and keeps it for that. A registry without tokens is asked nothing, and one
    /// whose tokens say nothing may allow it.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Unauthorized`] where the service gives none, or one without the right.
    pub async fn may_push(&self, repository: &Repository) -> Result<(), Error> {
        let call = self.call(repository, Access::PullPush, Method::POST, String::new());
        if !matches!(
            self.transport.challenge(&call),
            Some(Challenge::Bearer { .. })
        ) {
            return Ok(());
        }
        let host = self.transport.host(repository.registry());
        let authorization = self.transport.authorization(&call, &host).await?;
        let Some(authorization) = authorization else {
            return Ok(());
        };
        let token = authorization.header().trim_start_matches("Bearer ");
        match granted(token, repository.path()) {
            None | Some(true) => Ok(()),
            Some(false) => Err(Error {
                method: Method::POST,
                url: repository.to_string(),
                attempts: 1,
                kind: ErrorKind::Unauthorized(Words {
                    status: StatusCode::FORBIDDEN,
                    code: "DENIED".into(),
                    message: "the token service gives no right to push".into(),
                }),
                wait: None,
            }),
        }
    }
}

/// Whether `token` says that it allows to push to `path`; `None` where it says nothing of what it allows, or
/// speaks of a push to something else: one name was asked for, so that this may be another name of it (behind a
/// proxy that rewrites paths).
pub(super) fn granted(token: &str, path: &str) -> Option<bool> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    let access = claims.access?;
    let is_push = |action: &String| matches!(action.as_str(), "push" | "*");
    let pushed: Vec<&str> = access
        .iter()
        .filter(|granted| granted.kind == "repository")
        .filter(|granted| granted.actions.iter().flatten().any(is_push))
        .map(|granted| granted.name.as_str())
        .collect();
    match pushed.as_slice() {
        [] => Some(false),
        names => names.contains(&path).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_what_it_is_for() {
        let says = |claims: &str| granted(&token(claims), "team/app");
        let one = |name: &str, actions: &str| {
            format!(r#"{{"access":[{{"type":"repository","name":"{name}","actions":{actions}}}]}}"#)
        };
        assert_eq!(says(&one("team/app", r#"["pull","push"]"#)), Some(true));
        assert_eq!(says(&one("team/app", r#"["*"]"#)), Some(true));
        assert_eq!(says(&one("team/app", r#"["pull"]"#)), Some(false));
        assert_eq!(says(&one("team/app2", r#"["pull"]"#)), Some(false));
        assert_eq!(says(&one("app", r#"["push"]"#)), None);
        assert_eq!(says(&one("team/app", "null")), Some(false));
        assert_eq!(says(r#"{"access":[]}"#), Some(false));
        for silent in [
            r#"{"access":null}"#,
            r#"{"permissions":{}}"#,
            "{}",
            "[]",
            "x",
        ] {
            assert_eq!(says(silent), None, "{silent}");
        }
        for opaque in ["", "abc", "a.b", "a.!.c", "..."] {
            assert_eq!(granted(opaque, "team/app"), None, "{opaque}");
        }
    }
}
