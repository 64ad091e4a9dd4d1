//! Who asks: answers to challenges, and the tokens of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::flight::{Flight, Role};
use crate::limits::answer::ANSWER_BYTES_MAX;
use crate::oci::{Namespace, Registry};

use super::auth::{Challenge, Scope, Side, Token};
use super::call::{Call, Proof, read_all, retry_after};
use super::connect::Errand;
use super::credential::{Credential, Holder};
use super::error::{Error, ErrorKind, Words};
use super::host::Host;
use super::place::shown;
use super::tls::Tls;
use super::transport::Transport;

/// How often one request for a token may get a newer credential: a helper that gives another wrong one
/// each time must not be run for ever.
const RENEWALS_MAX: u32 = 2;

/// What a request is sent with. Never printed.
pub(super) enum Authorization {
    Basic(Basic),
    Bearer(Token),
}

/// A password as a header, and the credential it was made of.
pub(super) struct Basic {
    header: SecretString,
    credential: Credential,
}

impl Basic {
    fn of(credential: Credential) -> Option<Self> {
        let header = credential.basic()?;
        Some(Self { header, credential })
    }
}

impl Authorization {
    /// The value of the header.
    pub(super) fn header(&self) -> &str {
        match self {
            Self::Basic(basic) => basic.header.expose_secret(),
            Self::Bearer(token) => token.header(),
        }
    }
}

/// What one token is for: a side of the run, a registry and how it is reached, the namespace of the credential
/// that it was asked for with, and scopes.
type TokenKey = (Side, Registry, Tls, Option<Namespace>, Vec<Scope>);

/// The tokens of a run.
pub(super) type Tokens = Flight<TokenKey, Token>;

/// A token service, as a registry names it.
struct Service<'a> {
    realm: &'a Url,
    name: Option<&'a str>,
}

impl Transport {
    fn token_key(&self, call: &Call<'_>) -> TokenKey {
        let mut scopes = call.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let namespace = self.holder(call).map(|holder| holder.namespace().clone());
        let registry = call.registry().clone();
        (call.side, registry, self.tls_of(call), namespace, scopes)
    }

    /// Whether the registry of `call` has to prove who it is.
    fn tls_of(&self, call: &Call<'_>) -> Tls {
        self.settings.party(call.side).tls_of(call.repository)
    }

    /// What the registry of `call` asks for, as far as that is known.
    pub(super) fn challenge(&self, call: &Call<'_>) -> Option<Challenge> {
        self.host(call.registry()).challenge(self.tls_of(call))
    }

    /// Who holds the credential of `call`.
    pub(super) fn holder(&self, call: &Call<'_>) -> Option<&Arc<Holder>> {
        let party = self.settings.party(call.side);
        party.credentials.holder(call.repository)
    }

    /// What a registry that was sent `authorization` for `call` may know, and must not make us repeat.
    pub(super) fn secrets(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Vec<SecretString> {
        let holder = self.holder(call);
        let mut secrets = holder
            .map(|holder| holder.current().secrets())
            .unwrap_or_default();
        if let Some(authorization) = authorization {
            let value = authorization.header();
            let (_, secret) = value.split_once(' ').unwrap_or(("", value));
            secrets.push(secret.into());
        }
        secrets
    }

    /// Whether there is another credential for `call` than the one that was refused.
    pub(super) async fn is_renewed(&self, call: &Call<'_>, refused: &Basic) -> bool {
        match self.holder(call) {
            Some(holder) => holder.renewed(&refused.credential).await,
            None => false,
        }
    }

    /// Takes in a challenge: whether another try with other credentials makes sense.
    pub(super) async fn challenged(
        &self,
        call: &Call<'_>,
        host: &Arc<Host>,
        challenge: &Challenge,
        sent: Option<&Authorization>,
    ) -> bool {
        match (call.proof, sent) {
            (Proof::AsAsked, _) => {}
            // What another API asks for says nothing of the registry.
            (Proof::Basic, Some(Authorization::Basic(used))) => {
                return self.is_renewed(call, used).await;
            }
            (Proof::Basic | Proof::None, _) => return false,
        }
        let is_basic = *challenge == Challenge::Basic;
        let tls = self.tls_of(call);
        if let Some(Authorization::Bearer(token)) = sent {
            self.tokens
                .forget_if(&self.token_key(call), |held| held.is(token));
            // Harbor answers a token that it does not know any more with a challenge for a password
            // (nerdctl #1987); who began with tokens goes on with them.
            if !is_basic {
                host.set_challenge(tls, challenge.clone());
            }
            return true;
        }
        let is_new = host.challenge(tls).as_ref() != Some(challenge);
        host.set_challenge(tls, challenge.clone());
        match sent {
            // Another request may have brought the challenge while this one was under way.
            None => !is_basic || self.holder(call).is_some(),
            Some(Authorization::Basic(used)) => {
                is_new && !is_basic || self.is_renewed(call, used).await
            }
            Some(Authorization::Bearer(_)) => true,
        }
    }

    /// What this request is to be sent with, as far as the registry has asked for anything.
    pub(super) async fn authorization(
        &self,
        call: &Call<'_>,
        host: &Host,
    ) -> Result<Option<Authorization>, Error> {
        let basic = || {
            let credential = self.holder(call)?.current();
            Basic::of(credential).map(Authorization::Basic)
        };
        match (call.proof, host.challenge(self.tls_of(call))) {
            (Proof::Basic, _) | (Proof::AsAsked, Some(Challenge::Basic)) => Ok(basic()),
            (Proof::None, _) | (Proof::AsAsked, None) => Ok(None),
            (Proof::AsAsked, Some(Challenge::Bearer { realm, service })) => {
                let service = Service {
                    realm: &realm,
                    name: service.as_deref(),
                };
                let token = self.token(call, &service).await?;
                Ok(Some(Authorization::Bearer(token)))
            }
        }
    }

    /// A token for `call`: one for all who need the same, fetched once however many ask.
    async fn token(&self, call: &Call<'_>, service: &Service<'_>) -> Result<Token, Error> {
        let key = self.token_key(call);
        loop {
            // Who waited in vain for another's token asks once: the service had its tries.
            let has_waited = AtomicBool::new(false);
            let fetch = async || {
                let attempts = if has_waited.load(Ordering::Relaxed) {
                    1
                } else {
                    self.settings.retry.attempts
                };
                self.fetch_token(call, service, attempts).await
            };
            let waits = |_| has_waited.store(true, Ordering::Relaxed);
            let (token, role) = self.tokens.run(&key, waits, fetch).await?;
            // One that was fetched just now is used, however short its life.
            if token.is_fresh() || role == Role::Led {
                return Ok(token);
            }
            self.tokens.forget_if(&key, |held| held.is(&token));
        }
    }

    /// Forgets the token of `call`, so that the next one is proof of what the service says now.
    pub(super) fn forget_token(&self, call: &Call<'_>) {
        self.tokens.forget_if(&self.token_key(call), |_| true);
    }

    /// Asks the token service, again where that may help.
    async fn fetch_token(
        &self,
        call: &Call<'_>,
        service: &Service<'_>,
        attempts_max: u32,
    ) -> Result<Token, Error> {
        let mut attempt = 1;
        let mut renewals = 0;
        loop {
            let asked = tokio::time::Instant::now();
            let fail = |kind, wait| Error {
                method: Method::GET,
                url: shown(service.realm),
                attempts: attempt,
                kind,
                wait,
            };
            let holder = self.holder(call);
            let credential = holder.map(|holder| holder.current());
            let (kind, wait) = match self.ask_for_token(call, service, credential.as_ref()).await {
                Ok(body) => {
                    let none = "the token service gave no token";
                    return Token::read(&body, asked)
                        .ok_or_else(|| fail(ErrorKind::Protocol(none), None));
                }
                Err(failed) => failed,
            };
            if let (ErrorKind::Unauthorized(words), Some(holder), Some(refused)) =
                (&kind, holder, &credential)
            {
                if renewals < RENEWALS_MAX && holder.renewed(refused).await {
                    renewals += 1;
                    continue;
                }
                // Of a right that is missing some say 403 (GitLab, GitHub); who it is they know then.
                let is_known = words.status == StatusCode::FORBIDDEN && !call.scopes.is_empty();
                if !is_known {
                    return Err(fail(ErrorKind::CredentialRefused(words.clone()), wait));
                }
            }
            let error = fail(kind, wait);
            let is_silence = matches!(error.kind, ErrorKind::Stalled(_));
            if attempt >= attempts_max || is_silence || !error.is_passing() {
                return Err(error);
            }
            let pause = self.settings.retry.pause(attempt, error.wait);
            tracing::debug!(attempt, ?pause, registry = %call.registry(), "asking for a token again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn ask_for_token(
        &self,
        call: &Call<'_>,
        service: &Service<'_>,
        credential: Option<&Credential>,
    ) -> Result<Bytes, (ErrorKind, Option<Duration>)> {
        let (realm, service) = (service.realm, service.name);
        let client = self
            .client((call.repository, call.side), Errand::Token, realm)
            .map_err(|kind| (kind, None))?;
        let request = if let Some(Credential::IdentityToken(token)) = credential {
            let scopes: Vec<&str> = call.scopes.iter().map(Scope::as_str).collect();
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "consign")
                .append_pair("service", service.unwrap_or_default())
                .append_pair("scope", &scopes.join(" "))
                .append_pair("refresh_token", token.expose_secret())
                .finish();
            client
                .post(realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        } else {
            let mut url = realm.clone();
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in &call.scopes {
                    query.append_pair("scope", scope.as_str());
                }
            }
            let mut request = client.get(url);
            if let Some(basic) = credential.and_then(Credential::basic)
                && let Ok(mut header) = HeaderValue::from_str(basic.expose_secret())
            {
                header.set_sensitive(true);
                request = request.header(AUTHORIZATION, header);
            }
            request
        };
        let limit = self.settings.stall_timeout;
        let mut response = tokio::time::timeout(limit, request.send())
            .await
            .map_err(|_| (ErrorKind::Stalled(limit), None))?
            .map_err(|error| (self.network(error, realm), None))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = read_all(&mut response, ANSWER_BYTES_MAX, limit)
            .await
            .map_err(|kind| (kind, None))?;
        if status.is_success() {
            Ok(body)
        } else {
            let secrets = credential.map(Credential::secrets).unwrap_or_default();
            let words = Words::read(status, &body, &secrets);
            Err((ErrorKind::of_status(words), wait))
        }
    }
}
