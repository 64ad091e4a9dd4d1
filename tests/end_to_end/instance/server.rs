//! Fulcio and Rekor on loopback, as clients ask them.
//!
//! - `POST /api/v2/signingCert`: a token in the body or in `Authorization`, a key, and a proof that the
//!   client has it; a chain in JSON.
//! - `POST /api/v1/signingCert`: the same as cosign 2 asks it; a chain in PEM.
//! - `POST /api/v1/log/entries`: `hashedrekord` and `dsse` 0.0.1, whose signatures are checked.
//! - `GET /api/v1/log`, `GET /api/v1/log/publicKey`.
//!
//! Tokens are not checked: whom they name is who signs. What a server may do wrong that any server may,
//! statuses, silence, rubbish, is a rule of the registry ([`Server::registry`]); what only these can do
//! wrong is a [`Mischief`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use consign::serve::{Body, body};
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::authority::{By, Leaf, Promise, certificate_pem};
use super::keys::{Key, Public, decoded, hex, sha256, unhex};
use super::log;
use super::recipe::{Identity, LIFETIME, now};
use super::{ISSUER, Instance, JOB};
use crate::registry::{Annex, Asked, Settings, TestRegistry, Transport};

/// What the services do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// The certificate is for another key.
    CertificateOfOtherKey,
    /// The certificate expired an hour ago.
    CertificateExpired,
    /// The certificate has no promise of a certificate log.
    CertificateWithoutSct,
    /// The certificate names somebody else.
    CertificateOfSomebodyElse,
    /// The certificate is one of another authority.
    CertificateOfOtherAuthority,
    /// The entry is about something else.
    EntryOfSomethingElse,
    /// The entry is promised by another log.
    EntryOfOtherLog,
    /// The entry has no promise.
    EntryWithoutSet,
}

/// The services of an instance.
#[derive(Debug)]
pub(crate) struct Server {
    registry: TestRegistry,
    services: Arc<Services>,
}

impl Server {
    /// Services over plain HTTP.
    pub(crate) async fn start(instance: Arc<Instance>) -> Self {
        Self::over(instance, Transport::Plain).await
    }

    /// Services over this.
    pub(crate) async fn over(instance: Arc<Instance>, transport: Transport) -> Self {
        let services = Arc::new(Services {
            instance,
            state: Mutex::new(State {
                leaves: Vec::new(),
                lifetime: LIFETIME,
                mischief: None,
            }),
        });
        let annex: Arc<dyn Annex> = services.clone();
        let settings = Settings {
            transport,
            annex: Some(annex),
            ..Settings::default()
        };
        let registry = TestRegistry::with(settings).await;
        Self { registry, services }
    }

    /// The registry that they stand beside: its rules and its log are theirs too.
    pub(crate) const fn registry(&self) -> &TestRegistry {
        &self.registry
    }

    /// Where both are.
    pub(crate) fn url(&self) -> String {
        self.registry.url()
    }

    /// From now on certificates last so many seconds.
    pub(crate) fn issue_for(&self, seconds: u64) {
        self.services.state().lifetime = seconds;
    }

    /// From now on they do this, or nothing, wrong.
    pub(crate) fn misbehave(&self, mischief: impl Into<Option<Mischief>>) {
        self.services.state().mischief = mischief.into();
    }

    /// How many certificates were asked for.
    pub(crate) fn certificates(&self) -> usize {
        self.registry.count("POST", "/api/*/signingCert")
    }

    /// How many entries were offered.
    pub(crate) fn entries(&self) -> usize {
        self.registry.count("POST", "/api/v1/log/entries")
    }

    /// What cosign 3 is told of both.
    pub(crate) fn signing_config(&self) -> Value {
        let service = json!([{
            "url": self.url(),
            "majorApiVersion": 1,
            "validFor": { "start": "2020-01-01T00:00:00Z" },
            "operator": "instance.test",
        }]);
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service,
            "rekorTlogUrls": service,
            "rekorTlogConfig": { "selector": "ANY" },
            "tsaConfig": {},
        })
    }
}

/// How long tokens last, in seconds.
const HOUR: i64 = 3600;

/// A token of the usual job.
pub(crate) fn job_token() -> String {
    job_token_for(HOUR)
}

/// The same for so many seconds; one that has ended for fewer than none.
pub(crate) fn job_token_for(seconds: i64) -> String {
    let claims = json!({
        "iss": ISSUER,
        "sub": "project_path:apps/web:ref_type:branch:ref:main",
        "ci_config_ref_uri": JOB.trim_start_matches("https://"),
    });
    token(&claims, seconds)
}

/// A token of a person.
pub(crate) fn email_token(email: &str, issuer: &str) -> String {
    let claims = json!({ "iss": issuer, "sub": "4711", "email": email, "email_verified": true });
    token(&claims, HOUR)
}

/// A token that says this, for so many seconds; nobody signed it.
fn token(claims: &Value, seconds: i64) -> String {
    let mut claims = claims.clone();
    claims["aud"] = json!("sigstore");
    claims["iat"] = json!(now());
    claims["exp"] = json!(now().saturating_add_signed(seconds));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({ "alg": "ES256", "typ": "JWT" });
    format!(
        "{}.{}.{}",
        part(&head),
        part(&claims),
        URL_SAFE_NO_PAD.encode("none")
    )
}

#[derive(Debug)]
struct Services {
    instance: Arc<Instance>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    leaves: Vec<[u8; 32]>,
    lifetime: u64,
    mischief: Option<Mischief>,
}

impl Annex for Services {
    fn answer(&self, request: &Asked<'_>) -> Option<Response<Body>> {
        let answer = match (request.method.as_str(), request.path) {
            ("POST", "/api/v2/signingCert") => self.certify(request, false),
            ("POST", "/api/v1/signingCert") => self.certify(request, true),
            ("POST", "/api/v1/log/entries") => self.log(request.body),
            ("GET", "/api/v1/log") => Ok(self.tree()),
            ("GET", "/api/v1/log/publicKey") => {
                let key = self.instance.log.public().pem();
                Ok(said(StatusCode::OK, "application/x-pem-file", key))
            }
            _ => return None,
        };
        Some(answer.unwrap_or_else(|why| {
            let error = json!({ "code": 3, "message": why }).to_string();
            said(StatusCode::BAD_REQUEST, JSON, error)
        }))
    }

    fn refuse(&self, _: &Asked<'_>) -> Option<Response<Body>> {
        None
    }
}

const JSON: &str = "application/json";

fn said(status: StatusCode, kind: &str, text: String) -> Response<Body> {
    let response = Response::builder().status(status);
    let response = response.header(header::CONTENT_TYPE, kind);
    response.body(body(text)).expect("a response")
}

/// Why something was refused.
type Refused = &'static str;

impl Services {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn certify(&self, request: &Asked<'_>, is_first: bool) -> Result<Response<Body>, Refused> {
        let asked: Value = serde_json::from_slice(request.body).map_err(|_| "no JSON")?;
        let text = |pointer: &str| asked.pointer(pointer).and_then(Value::as_str);
        let bearer = request.headers.get(header::AUTHORIZATION);
        let bearer = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = text("/credentials/oidcIdentityToken").filter(|token| !token.is_empty());
        let claims = claims(token.or(bearer).ok_or("no token")?).ok_or("no such token")?;
        let (key, proof) = if is_first {
            let key = text("/publicKey/content").and_then(|key| Public::read(&decoded(key)?));
            (key, text("/signedEmailAddress"))
        } else {
            let key = text("/publicKeyRequest/publicKey/content");
            let key = key.and_then(|key| Public::read(key.as_bytes()));
            (key, text("/publicKeyRequest/proofOfPossession"))
        };
        let key = key.ok_or("no key on P-256")?;
        let proof = proof.and_then(decoded).ok_or("no proof of possession")?;
        let claim = |name: &str| claims[name].as_str();
        let subject = claim("email").or_else(|| claim("sub"));
        let subject = subject.ok_or("the token names nobody")?;
        if !key.has_signed(&sha256(subject.as_bytes()), &proof) {
            return Err("the key is not the client's");
        }
        let identity = match (claim("email"), claim("ci_config_ref_uri")) {
            (Some(email), _) => Identity::Email(email.to_owned()),
            (None, Some(job)) => Identity::Uri(format!("https://{job}")),
            (None, None) => Identity::Uri(subject.to_owned()),
        };
        let issuer = claim("iss").ok_or("the token has no issuer")?;
        let chain = self.issue(&identity, issuer, key);
        if is_first {
            let kind = "application/pem-certificate-chain";
            return Ok(said(StatusCode::CREATED, kind, chain.concat()));
        }
        let chain = json!({ "chain": { "certificates": chain } });
        let answer = json!({ "signedCertificateEmbeddedSct": chain });
        Ok(said(StatusCode::OK, JSON, answer.to_string()))
    }

    /// A certificate and those above it.
    fn issue(&self, identity: &Identity, issuer: &str, key: Public) -> Vec<String> {
        let state = self.state();
        let mut leaf = Leaf::usual(identity.name(), issuer, now());
        leaf.lifetime = state.lifetime;
        let (mut key, mut authority) = (key, &self.instance.authority);
        match state.mischief {
            Some(Mischief::CertificateOfOtherKey) => key = Key::generate().public(),
            Some(Mischief::CertificateExpired) => leaf.begin -= 3600 + LIFETIME,
            Some(Mischief::CertificateWithoutSct) => leaf.promise = Promise::Absent,
            Some(Mischief::CertificateOfOtherAuthority) => authority = &self.instance.other,
            Some(Mischief::CertificateOfSomebodyElse) => {
                leaf.names = vec![Identity::Email("other@instance.test".to_owned()).name()];
            }
            _ => {}
        }
        let promises = &self.instance.promises;
        let mut chain = vec![authority.issue(&leaf, promises, &key, promises)];
        chain.extend(authority.chain(By::Intermediate));
        chain.iter().map(|der| certificate_pem(der)).collect()
    }

    fn log(&self, offered: &[u8]) -> Result<Response<Body>, Refused> {
        let offered: Value = serde_json::from_slice(offered).map_err(|_| "no JSON")?;
        let text = |pointer: &str| offered.pointer(pointer).and_then(Value::as_str);
        let (mut body, signature, signer) = match text("/kind") {
            Some("hashedrekord") => {
                let digest = text("/spec/data/hash/value").and_then(unhex);
                let digest = digest.ok_or("no SHA-256 of anything")?;
                let signature = text("/spec/signature/content");
                let signer = text("/spec/signature/publicKey/content");
                let (signature, signer) = signed_by(&digest, signature, signer)?;
                (log::Body::Hashed(digest), signature, signer)
            }
            Some("dsse") => {
                let written = text("/spec/proposedContent/envelope").ok_or("no envelope")?;
                let envelope: Value = serde_json::from_str(written).map_err(|_| "no envelope")?;
                let payload = envelope["payload"].as_str().and_then(decoded);
                let payload = payload.ok_or("no payload")?;
                let kind = envelope["payloadType"].as_str().ok_or("no type")?;
                let mut bytes =
                    format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
                bytes.extend(&payload);
                let signature = envelope["signatures"][0]["sig"].as_str();
                let signer = text("/spec/proposedContent/verifiers/0");
                let (signature, signer) = signed_by(&sha256(&bytes), signature, signer)?;
                let body = log::Body::Dsse(sha256(written.as_bytes()), sha256(&payload));
                (body, signature, signer)
            }
            _ => return Err("no such kind of entry"),
        };
        let mut state = self.state();
        if state.mischief == Some(Mischief::EntryOfSomethingElse) {
            body = match body {
                log::Body::Hashed(_) => log::Body::Hashed(sha256(b"another")),
                log::Body::Dsse(envelope, _) => log::Body::Dsse(envelope, sha256(b"another")),
            };
        }
        let written = body.write(&signature, &signer);
        let log = match state.mischief {
            Some(Mischief::EntryOfOtherLog) => &self.instance.foreign,
            _ => &self.instance.log,
        };
        let mut entry = log.append(&mut state.leaves, written, body.kind(), now());
        if state.mischief == Some(Mischief::EntryWithoutSet) {
            entry.promise = None;
        }
        let uuid = entry.uuid();
        let answer = json!({ &uuid: entry.in_answer() }).to_string();
        let mut answer = said(StatusCode::CREATED, JSON, answer);
        let headers = answer.headers_mut();
        let place = format!("/api/v1/log/entries/{uuid}");
        headers.insert(header::ETAG, uuid.parse().expect("a header"));
        headers.insert(header::LOCATION, place.parse().expect("a header"));
        Ok(answer)
    }

    fn tree(&self) -> Response<Body> {
        let state = self.state();
        let root = match &state.leaves[..] {
            [] => sha256(&[]),
            leaves => log::root(leaves),
        };
        let tree = json!({
            "rootHash": hex(&root),
            "signedTreeHead": self.instance.log.checkpoint(state.leaves.len(), &root),
            "treeID": "57264",
            "treeSize": state.leaves.len(),
            "inactiveShards": [],
        });
        said(StatusCode::OK, JSON, tree.to_string())
    }
}

/// What a token says.
fn claims(token: &str) -> Option<Value> {
    let said = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()
}

/// Signature and signer, of whom the one is by the other.
fn signed_by(
    digest: &[u8],
    signature: Option<&str>,
    signer: Option<&str>,
) -> Result<(Vec<u8>, String), Refused> {
    let signature = signature.and_then(decoded).ok_or("no signature")?;
    let signer = signer.and_then(decoded).ok_or("no key or certificate")?;
    let key = Public::read(&signer).ok_or("no key on P-256")?;
    if !key.has_signed(digest, &signature) {
        return Err("the signature is not one of that");
    }
    let signer = String::from_utf8(signer).map_err(|_| "no PEM")?;
    Ok((signature, signer))
}
