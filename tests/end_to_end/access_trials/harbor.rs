//! A double of Harbor, from the shapes that its API documents (`/api/v2.0`, `swagger.yaml`) and its
//! source has: projects that have to exist, robots that may not look, quotas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign::serve::{Body, body};
use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::response::Builder;
use http::{Method, Response};
use serde_json::{Value, json};

use crate::registry::{
    AfterRefusal, Annex, Asked, Auth, Bearer, Rule, Settings, TestRegistry, when,
};

/// Who is known.
pub(super) const USER: &str = "robot$ci+mirror";
/// Their password at first.
pub(super) const PASSWORD: &str = "Harbor-of-the-trials-12345";

/// What the API lets the user do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Look for projects and make them.
    Create,
    /// Look for projects.
    Look,
    /// Neither; as robots of a project.
    Nothing,
}

/// What is said of a project that is not there, to those who push into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// 401 without a challenge, as `v2auth` of 2.x does.
    Unauthorized,
    /// 404.
    NotFound,
    /// 500 (harbor-helm #849).
    Trouble,
}

/// Harbor.
#[derive(Debug)]
pub(super) struct Harbor {
    /// The registry in it.
    pub(super) registry: TestRegistry,
    api: Arc<Api>,
}

impl Harbor {
    /// One with these projects.
    pub(super) async fn start(projects: &[&str], may: May, missing: Missing) -> Self {
        let projects = projects.iter().map(|name| ((*name).to_owned(), json!({})));
        let api = Arc::new(Api {
            may,
            missing,
            projects: Mutex::new(projects.collect()),
        });
        let annex: Arc<dyn Annex> = Arc::<Api>::clone(&api);
        let settings = Settings {
            auth: Auth::Bearer(Bearer {
                credentials: Some((USER, PASSWORD)),
                path: "/service/token",
                service: "harbor-registry",
                after_refusal: AfterRefusal::Basic,
                ..Bearer::default()
            }),
            annex: Some(annex),
            ..Settings::default()
        };
        let registry = TestRegistry::with(settings).await;
        Self { registry, api }
    }

    /// Address and port.
    pub(super) fn host(&self) -> String {
        self.registry.host()
    }

    /// The projects, each with the metadata it was made with.
    pub(super) fn projects(&self) -> BTreeMap<String, Value> {
        self.api.projects().clone()
    }
}

/// What is around the registry.
#[derive(Debug)]
struct Api {
    may: May,
    missing: Missing,
    projects: Mutex<BTreeMap<String, Value>>,
}

impl Api {
    fn projects(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, request: &Asked<'_>) -> Response<Body> {
        let name = request.parameter("project_name").unwrap_or_default();
        match self.may {
            May::Nothing => errors(403, "FORBIDDEN", "forbidden"),
            May::Create | May::Look if self.projects().contains_key(&name) => {
                done(Response::builder())
            }
            May::Create | May::Look => errors(404, "NOT_FOUND", &not_found(&name)),
        }
    }

    fn create(&self, request: &Asked<'_>) -> Response<Body> {
        if self.may != May::Create {
            let message = "Only system admin can create project";
            return errors(403, "FORBIDDEN", message);
        }
        let wanted: Value = serde_json::from_slice(request.body).unwrap_or_default();
        let Some(name) = wanted["project_name"].as_str() else {
            return errors(400, "BAD_REQUEST", "project_name is required");
        };
        let mut projects = self.projects();
        if projects.contains_key(name) {
            let message = format!("The project named {name} already exists");
            return errors(409, "CONFLICT", &message);
        }
        projects.insert(name.to_owned(), wanted["metadata"].clone());
        let location = format!("/api/v2.0/projects/{}", projects.len());
        done(Response::builder().status(201).header(LOCATION, location))
    }
}

impl Annex for Api {
    fn answer(&self, request: &Asked<'_>) -> Option<Response<Body>> {
        match (request.method, request.path) {
            (&Method::GET, "/api/v2.0/ping") => {
                let plain = Response::builder().header(CONTENT_TYPE, "text/plain");
                plain.body(body("Pong")).ok()
            }
            (&Method::HEAD | &Method::POST, "/api/v2.0/projects") => {
                let who = request.who();
                if !who.is_some_and(|(user, password)| user == USER && password == PASSWORD) {
                    return Some(errors(401, "UNAUTHORIZED", "unauthorized"));
                }
                let mut answer = match *request.method {
                    Method::HEAD => self.look(request),
                    _ => self.create(request),
                };
                if request.method == Method::HEAD {
                    *answer.body_mut() = body("");
                }
                Some(answer)
            }
            _ => None,
        }
    }

    fn refuse(&self, request: &Asked<'_>) -> Option<Response<Body>> {
        let project = request.path.strip_prefix("/v2/")?.split('/').next()?;
        if project.is_empty() || project.starts_with('_') || self.projects().contains_key(project) {
            return None;
        }
        let message = not_found(project);
        Some(match self.missing {
            Missing::Unauthorized => {
                let mut answer = errors(401, "UNAUTHORIZED", &message);
                let empty = "".parse().expect("a header");
                answer.headers_mut().insert(WWW_AUTHENTICATE, empty);
                answer
            }
            Missing::NotFound => errors(404, "NOT_FOUND", &message),
            Missing::Trouble => errors(500, "UNKNOWN", "internal server error"),
        })
    }
}

fn not_found(project: &str) -> String {
    format!("project {project} not found")
}

fn done(response: Builder) -> Response<Body> {
    response.body(body("")).expect("a response")
}

fn document(code: &str, message: &str) -> String {
    json!({ "errors": [{ "code": code, "message": message }] }).to_string()
}

fn errors(status: u16, code: &str, message: &str) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json; charset=utf-8");
    response
        .body(body(document(code, message)))
        .expect("a response")
}

/// Refuses manifests of a project from the `n`th on, in Harbor's words.
pub(super) fn refuse_manifests(project: &str, n: usize, refusal: (u16, &str, &str)) -> Rule {
    let (status, code, message) = refusal;
    let rule = when("PUT", &format!("/v2/{project}/*/manifests/*")).from(n);
    rule.respond(status)
        .header("content-type", "application/json; charset=utf-8")
        .body(document(code, message))
}
