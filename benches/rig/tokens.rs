//! `rig tokens`: a token service for docker-registry's `auth: token`, which grants whatever is asked for.
//!
//! Who asks is not looked at: what is measured is what asking costs. The key is made at the start, and the
//! certificate that the registry is to trust (`rootcertbundle`) is written before the first connection is
//! taken. Tokens are as distribution's token authentication wants them: ES256, the certificate in `x5c`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::Failure;
use crate::web::{self, Answer, Handler, Place};

/// The largest form that is read, in bytes: a hundred scopes.
const FORM_MAX: usize = 64 * 1024;
/// How long before now a token begins to hold, in seconds: clocks are never the same.
const SKEW: i64 = 5;

/// What `rig tokens` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write the certificate that the registry is to trust.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The name of this service, as the registry knows it.
    #[arg(long, value_name = "NAME")]
    issuer: String,
    /// The name of the registry, where a client does not say it.
    #[arg(long, value_name = "NAME")]
    service: String,
    /// How long a token holds.
    #[arg(long, value_name = "SECONDS")]
    lifetime: u32,
    #[command(flatten)]
    place: Place,
}

/// Serves until a signal comes.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let name = "tokens of the benchmarks, for tests only";
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key)?;
    fs::write(&options.bundle, certificate.pem())?;
    let header = json!({
        "typ": "JWT",
        "alg": "ES256",
        "x5c": [STANDARD.encode(certificate.der())],
    });
    let service = Service {
        key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der())?,
        random: SystemRandom::new(),
        header: URL_SAFE_NO_PAD.encode(header.to_string()),
        issuer: options.issuer,
        audience: options.service,
        lifetime: options.lifetime,
        given: AtomicU64::new(0),
    };
    web::run(&options.place, Arc::new(service)).await
}

#[derive(Debug)]
struct Service {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// As it stands in tokens.
    header: String,
    issuer: String,
    audience: String,
    lifetime: u32,
    given: AtomicU64,
}

impl Handler for Service {
    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        if parts.uri.path() == "/_rig/stats" {
            let given = self.given.load(Ordering::Relaxed);
            return Ok(web::json(StatusCode::OK, &json!({ "tokens": given })));
        }
        let asked = if parts.method == Method::POST {
            // The form of OAuth 2, which has the scopes where a query has them else.
            let Ok(form) = Limited::new(body, FORM_MAX).collect().await else {
                return Ok(web::empty(StatusCode::PAYLOAD_TOO_LARGE));
            };
            Asked::read(&form.to_bytes())
        } else {
            Asked::read(query.as_bytes())
        };
        Ok(match self.token(&asked) {
            Ok(answer) => web::json(StatusCode::OK, &answer),
            Err(_) => web::empty(StatusCode::INTERNAL_SERVER_ERROR),
        })
    }
}

/// What a client asks for.
#[derive(Debug, Default)]
struct Asked {
    service: Option<String>,
    access: Vec<Value>,
}

impl Asked {
    fn read(form: &[u8]) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(form) {
            match &*name {
                "service" => asked.service = Some(value.into_owned()),
                // Several in one value, and several values.
                "scope" => asked.access.extend(value.split(' ').filter_map(access)),
                _ => {}
            }
        }
        asked
    }
}

/// A scope, `repository:NAME:ACTION,ACTION`, in the form of a token.
fn access(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    // The name may have a port.
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

impl Service {
    fn token(&self, asked: &Asked) -> Result<Value, Failure> {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now();
        let seconds = now.as_second();
        let claims = json!({
            "iss": self.issuer,
            "sub": "",
            "aud": asked.service.as_ref().unwrap_or(&self.audience),
            "exp": seconds + i64::from(self.lifetime),
            "nbf": seconds - SKEW,
            "iat": seconds,
            "jti": number.to_string(),
            "access": asked.access,
        });
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let signed = format!("{}.{claims}", self.header);
        let signature = self.key.sign(&self.random, signed.as_bytes())?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Ok(json!({
            "token": token,
            "access_token": token,
            "expires_in": self.lifetime,
            "issued_at": now.to_string(),
        }))
    }
}
