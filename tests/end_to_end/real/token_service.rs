//! A token service for distribution 2.8: it knows one user, and issues tokens that have almost ended.
//!
//! Distribution takes a token for 60 s after its end, so that a token that ended 57 s ago is good for
//! 2 to 3 s more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use consign::serve;
use consign::serve::{Body, BodyError, Handler, body};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::form_urlencoded;

use crate::certificates::Certified;
use crate::registry::{TokenRequest, basic};

/// The user that is known.
pub(crate) const USER: &str = "somebody";
/// Their password at first.
pub(crate) const PASSWORD: &str = "a-password-of-the-trials";
/// Who issues the tokens, as a registry is told.
pub(crate) const ISSUER: &str = "the trials";

/// What distribution adds to the life of a token, in seconds (`registry/auth/token`, 2.8).
const LEEWAY: u64 = 60;
/// How long a token lives at the registry, in seconds; the fraction of the current one less.
const LIFE: u64 = 3;

/// What the answer says of a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// No more than it has.
    Truth,
    /// Five minutes.
    FiveMinutes,
}

/// How a token service behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// What it says of a token's life.
    pub(crate) says: Says,
    /// How long it thinks about each request.
    pub(crate) delay: Duration,
    /// The actions that it gives at most.
    pub(crate) grants: &'static [&'static str],
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            says: Says::Truth,
            delay: Duration::ZERO,
            grants: &["pull", "push", "delete"],
        }
    }
}

/// A token service on loopback; dropped, it ends.
#[derive(Debug)]
pub(crate) struct TokenService {
    address: SocketAddr,
    desk: Arc<Desk>,
    _server: JoinSet<std::io::Result<()>>,
}

impl TokenService {
    /// Starts one.
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let signer = Certified::alone(&["token.invalid"]);
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &signer.key_der);
        let desk = Arc::new(Desk {
            manner,
            key: key.expect("a key on P-256"),
            signer,
            state: Mutex::new(State {
                password: PASSWORD.to_owned(),
                asked: Vec::new(),
            }),
        });
        let mut server = JoinSet::new();
        let handler = Arc::clone(&desk);
        server.spawn(serve::listen(listener, handler, std::future::pending()));
        Self {
            address,
            desk,
            _server: server,
        }
    }

    /// Where it is asked.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate that its tokens are signed with, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.desk.signer.certificate
    }

    /// All requests so far, in order.
    pub(crate) fn asked(&self) -> Vec<TokenRequest> {
        self.desk.state().asked.clone()
    }

    /// From now on only this password is good.
    pub(crate) fn change_password(&self, password: &str) {
        password.clone_into(&mut self.desk.state().password);
    }
}

/// Who answers.
#[derive(Debug)]
struct Desk {
    manner: Manner,
    key: EcdsaKeyPair,
    signer: Certified,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    password: String,
    asked: Vec<TokenRequest>,
}

impl Handler for Desk {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, BodyError> {
        tokio::time::sleep(self.manner.delay).await;
        let query = request.uri().query().unwrap_or_default();
        let mut scopes = Vec::new();
        let mut service = String::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "scope" => scopes.extend(value.split(' ').map(str::to_owned)),
                "service" => service = value.into_owned(),
                _ => {}
            }
        }
        let authorization = request.headers().get(AUTHORIZATION);
        let who = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(basic);
        let given = self.knows(who.as_ref());
        let mut response = Response::builder().header(CONTENT_TYPE, "application/json");
        let answer = if given {
            self.token(&scopes, &service)
        } else {
            response = response
                .status(StatusCode::UNAUTHORIZED)
                .header(WWW_AUTHENTICATE, "Basic realm=\"the trials\"");
            json!({ "details": "who are you?" })
        };
        self.state().asked.push(TokenRequest {
            scopes,
            service,
            user: who.map(|(user, _)| user),
            given,
        });
        Ok(response.body(body(answer.to_string()))?)
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, who: Option<&(String, String)>) -> bool {
        let state = self.state();
        who.is_some_and(|(user, password)| user == USER && *password == state.password)
    }

    /// The answer with a token, as distribution's specification has it ("Token Authentication
    /// Implementation").
    fn token(&self, scopes: &[String], service: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_secs();
        let access: Vec<Value> = scopes
            .iter()
            .filter_map(|scope| {
                let (resource, actions) = scope.rsplit_once(':')?;
                let (kind, name) = resource.split_once(':')?;
                let may = |action: &&str| self.manner.grants.contains(action);
                let actions: Vec<&str> = actions.split(',').filter(may).collect();
                Some(json!({ "type": kind, "name": name, "actions": actions }))
            })
            .collect();
        let header = json!({
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [STANDARD.encode(&self.signer.der)],
        });
        let claims = json!({
            "iss": ISSUER,
            "sub": USER,
            "aud": service,
            "exp": now + LIFE - LEEWAY,
            "nbf": now - LEEWAY,
            "iat": now - LEEWAY,
            "jti": format!("{:032x}", fastrand::u128(..)),
            "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
        let token = format!("{signed}.{signature}");
        let life = match self.manner.says {
            Says::Truth => LIFE - 1,
            Says::FiveMinutes => 300,
        };
        json!({ "token": token, "access_token": token, "expires_in": life })
    }
}
