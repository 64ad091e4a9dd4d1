//! Who may do what in a test registry: nobody asks, a password, or tokens.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign::serve::{Body, body};
use http::header::{self, HeaderMap};
use http::{Method, Response, StatusCode};
use tokio::time::Instant;
use url::form_urlencoded;

/// How a test registry knows its clients.
#[derive(Debug, Clone, Default)]
pub(crate) enum Auth {
    /// It does not ask.
    #[default]
    None,
    /// User and password with every request.
    Basic(&'static str, &'static str),
    /// One of these users and passwords with every request.
    Users(&'static [(&'static str, &'static str)]),
    /// Tokens from `/token` of the same server.
    Bearer(Bearer),
}

/// What the token service gives, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    /// User and password; without them anybody gets a token.
    pub(crate) credentials: Option<(&'static str, &'static str)>,
    /// The refresh token that `POST /token` takes.
    pub(crate) identity_token: Option<&'static str>,
    /// What the answer says of the life of a token, and what holds.
    pub(crate) expires_in: Option<Duration>,
    /// For how many requests a token is good; then it is as unknown.
    pub(crate) uses: Option<usize>,
    /// The realm of the challenge, where it is not this server's own.
    pub(crate) realm: Option<String>,
    /// The actions that are given at most, whatever was asked for.
    pub(crate) grants: &'static [&'static str],
    /// The path of the token service.
    pub(crate) path: &'static str,
    /// The name of the registry, as the challenge has it.
    pub(crate) service: &'static str,
    /// What a client is asked for whose token was refused.
    pub(crate) after_refusal: AfterRefusal,
}

/// What a client is asked for whose token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// Another token, as before.
    Bearer,
    /// A password, as Harbor asks for it (nerdctl #1987).
    Basic,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            credentials: Some(("user", "password")),
            identity_token: None,
            expires_in: None,
            uses: None,
            realm: None,
            grants: &["pull", "push", "delete", "*"],
            path: "/token",
            service: "test",
            after_refusal: AfterRefusal::Bearer,
        }
    }
}

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    /// The scopes, as they were asked for.
    pub(crate) scopes: Vec<String>,
    /// The service that was named.
    pub(crate) service: String,
    /// The user of the `Authorization`, or of the form.
    pub(crate) user: Option<String>,
    /// Whether a token was given.
    pub(crate) given: bool,
}

/// What a request needs: actions in a repository (`registry:catalog` for the catalog).
#[derive(Debug, PartialEq, Eq)]
struct Need {
    resource: String,
    action: &'static str,
}

#[derive(Debug)]
struct Grant {
    /// Resource and actions.
    scopes: Vec<(String, Vec<String>)>,
    expires: Option<Instant>,
    uses: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    tokens: HashMap<String, Grant>,
    requests: Vec<TokenRequest>,
    /// The password, where it was changed.
    password: Option<String>,
}

/// The guard at the door.
#[derive(Debug)]
pub(super) struct Door {
    auth: Auth,
    realm: String,
    state: Mutex<State>,
}

impl Door {
    pub(super) fn new(auth: Auth, url: &str) -> Self {
        let mut door = Self {
            auth,
            realm: String::new(),
            state: Mutex::default(),
        };
        door.realm = format!("{url}{}", door.token_path());
        door
    }

    /// Where tokens are to be had, if there are any.
    pub(super) const fn token_path(&self) -> &'static str {
        match &self.auth {
            Auth::Bearer(bearer) => bearer.path,
            Auth::None | Auth::Basic(..) | Auth::Users(_) => "/token",
        }
    }

    pub(super) fn change_password(&self, password: &str) {
        self.state().password = Some(password.to_owned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self) -> Vec<TokenRequest> {
        self.state().requests.clone()
    }

    pub(super) fn revoke(&self) {
        self.state().tokens.clear();
    }

    /// Refuses a request that may not be done.
    pub(super) fn check(
        &self,
        request: (&Method, &str, &str),
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        match &self.auth {
            Auth::None => None,
            Auth::Basic(user, password) => {
                let changed = self.state().password.clone();
                let password = changed.as_deref().unwrap_or(password);
                let given = authorization.and_then(basic);
                let good = given.is_some_and(|(u, p)| u == *user && p == password);
                (!good).then(|| refusal("Basic realm=\"test\""))
            }
            Auth::Users(users) => {
                let given = authorization.and_then(basic);
                let good = users.iter().any(|(user, password)| {
                    let is_one = |(u, p): &(String, String)| u == user && p == password;
                    given.as_ref().is_some_and(is_one)
                });
                (!good).then(|| refusal("Basic realm=\"test\""))
            }
            Auth::Bearer(bearer) => {
                let needs = needs(request);
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                let outcome = token.map(|token| self.state().spend(token, &needs));
                let error = match outcome {
                    Some(Ok(())) => return None,
                    Some(Err(_)) if bearer.after_refusal == AfterRefusal::Basic => {
                        return Some(refusal("Basic realm=\"test\""));
                    }
                    Some(Err(error)) => Some(error),
                    None => None,
                };
                Some(refusal(&self.challenge(bearer, &needs, error)))
            }
        }
    }

    fn challenge(&self, bearer: &Bearer, needs: &[Need], error: Option<&str>) -> String {
        let realm = bearer.realm.as_deref().unwrap_or(&self.realm);
        let service = bearer.service;
        let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        let mut scopes: Vec<(String, Vec<&str>)> = Vec::new();
        for need in needs {
            match scopes.iter_mut().find(|(other, _)| *other == need.resource) {
                Some((_, actions)) => actions.push(need.action),
                None => scopes.push((need.resource.clone(), vec![need.action])),
            }
        }
        let scopes: Vec<String> = scopes
            .iter()
            .map(|(resource, actions)| format!("{resource}:{}", actions.join(",")))
            .collect();
        if !scopes.is_empty() {
            challenge = format!("{challenge},scope=\"{}\"", scopes.join(" "));
        }
        match error {
            Some(error) => format!("{challenge},error=\"{error}\""),
            None => challenge,
        }
    }

    /// Answers a request for a token: `GET` as Docker does, `POST` as OAuth 2 does.
    pub(super) fn token(
        &self,
        method: &Method,
        query: &str,
        headers: &HeaderMap,
        form: &[u8],
    ) -> Response<Body> {
        let Auth::Bearer(bearer) = &self.auth else {
            return answer(StatusCode::NOT_FOUND, &serde_json::json!({}));
        };
        let input = if *method == Method::POST {
            form
        } else {
            query.as_bytes()
        };
        let fields: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
        let field = |name: &str| {
            let found = fields.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        // Both forms are in use: one parameter for each scope, and one with blanks in it.
        let scopes: Vec<String> = fields
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
            .filter(|scope| !scope.is_empty())
            .collect();
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let user = match field("grant_type").as_deref() {
            Some("password") => field("username").zip(field("password")),
            Some(_) => None,
            None => authorization.and_then(basic),
        };
        let refreshes = field("grant_type").as_deref() == Some("refresh_token")
            && bearer.identity_token.is_some()
            && field("refresh_token").as_deref() == bearer.identity_token;
        let mut state = self.state();
        let given = refreshes
            || match (&bearer.credentials, &user) {
                (None, None) => true,
                (Some((name, password)), Some((u, p))) => {
                    let password = state.password.as_deref().unwrap_or(password);
                    u == name && p == password
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
        state.requests.push(TokenRequest {
            scopes: scopes.clone(),
            service: field("service").unwrap_or_default(),
            user: user.map(|(user, _)| user),
            given,
        });
        if !given {
            return refusal("Basic realm=\"test\"");
        }
        let token = format!("test-{:032x}", fastrand::u128(..));
        let grant = Grant {
            scopes: scopes
                .iter()
                .filter_map(|scope| read_scope(scope, bearer.grants))
                .collect(),
            expires: bearer.expires_in.map(|life| Instant::now() + life),
            uses: bearer.uses,
        };
        state.tokens.insert(token.clone(), grant);
        let mut document = serde_json::json!({ "token": token, "access_token": token });
        if let Some(life) = bearer.expires_in {
            document["expires_in"] = life.as_secs().into();
        }
        answer(StatusCode::OK, &document)
    }
}

impl State {
    /// Uses a token once, or says what is wrong with it.
    fn spend(&mut self, token: &str, needs: &[Need]) -> Result<(), &'static str> {
        let grant = self.tokens.get_mut(token).ok_or("invalid_token")?;
        let is_over = grant.expires.is_some_and(|end| Instant::now() >= end);
        if is_over || grant.uses == Some(0) {
            return Err("invalid_token");
        }
        let allows = |need: &Need| {
            grant.scopes.iter().any(|(resource, actions)| {
                *resource == need.resource
                    && actions.iter().any(|own| own == need.action || own == "*")
            })
        };
        if !needs.iter().all(allows) {
            return Err("insufficient_scope");
        }
        if let Some(uses) = &mut grant.uses {
            *uses -= 1;
        }
        Ok(())
    }
}

/// Reads `TYPE:NAME:ACTION,ACTION`; the name may have colons.
fn read_scope(scope: &str, grants: &[&str]) -> Option<(String, Vec<String>)> {
    let (resource, actions) = scope.rsplit_once(':')?;
    let actions = actions
        .split(',')
        .filter(|action| grants.contains(action))
        .map(str::to_owned)
        .collect();
    Some((resource.to_owned(), actions))
}

/// What distribution asks for.
fn needs((method, path, query): (&Method, &str, &str)) -> Vec<Need> {
    if path == "/v2/_catalog" {
        return vec![Need {
            resource: "registry:catalog".to_owned(),
            action: "*",
        }];
    }
    let name = path.strip_prefix("/v2/").and_then(|rest| {
        ["/manifests/", "/blobs/", "/tags/list", "/referrers/"]
            .iter()
            .find_map(|word| rest.rsplit_once(word))
            .map(|(name, _)| name)
    });
    let Some(name) = name else {
        return Vec::new();
    };
    let need = |name: &str, action| Need {
        resource: format!("repository:{name}"),
        action,
    };
    let mut needs = match method.as_str() {
        "GET" | "HEAD" => vec![need(name, "pull")],
        "DELETE" => vec![need(name, "delete")],
        _ => vec![need(name, "pull"), need(name, "push")],
    };
    let from = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "from");
    if let Some((_, from)) = from.filter(|(_, from)| from != name) {
        needs.push(need(&from, "pull"));
    }
    needs
}

/// User and password of a Basic `Authorization`.
pub(crate) fn basic(authorization: &str) -> Option<(String, String)> {
    let encoded = authorization.strip_prefix("Basic ")?;
    let plain = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn refusal(challenge: &str) -> Response<Body> {
    let document = serde_json::json!({
        "errors": [{ "code": "UNAUTHORIZED", "message": "authentication required" }],
    });
    let mut response = answer(StatusCode::UNAUTHORIZED, &document);
    let challenge = challenge.parse().expect("a header");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

pub(super) fn answer(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body(document.to_string()))
        .expect("a response")
}
