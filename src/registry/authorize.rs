//! Who asks: answers to challenges, and the tokens of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::flight::Role;
use crate::oci::Registry;

use super::auth::{Challenge, Scope, Token};
use super::call::{ANSWER_BYTES_MAX, Call, read_all, retry_after};
use super::credential::Credential;
use super::error::{Error, ErrorKind, NetworkError, Words};
use super::host::Host;
use super::place::{is_loopback, shown};
use super::transport::Transport;

/// What a request is sent with. Never printed.
pub(super) enum Authorization {
    Basic(SecretString),
    Bearer(Token),
}

impl Authorization {
    /// The value of the header.
    pub(super) fn header(&self) -> &str {
        match self {
            Self::Basic(value) => value.expose_secret(),
            Self::Bearer(token) => token.header(),
        }
    }
}

impl Call<'_> {
    fn token_key(&self) -> (Registry, Vec<Scope>) {
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        (self.registry.clone(), scopes)
    }
}

impl Transport {
    /// Takes in a challenge: whether another try with other credentials makes sense.
    pub(super) fn challenged(
        &self,
        call: &Call<'_>,
        host: &Arc<Host>,
        challenge: &Challenge,
        sent: Option<&Authorization>,
    ) -> bool {
        let is_new = host.challenge().as_ref() != Some(challenge);
        let is_basic = *challenge == Challenge::Basic;
        host.set_challenge(challenge.clone());
        match sent {
            // Another request may have brought the challenge while this one was under way.
            None => !is_basic || self.settings.credentials.get(call.registry).is_some(),
            Some(Authorization::Basic(_)) => is_new,
            Some(Authorization::Bearer(token)) => {
                self.tokens
                    .forget_if(&call.token_key(), |held| held.is(token));
                true
            }
        }
    }

    /// What this request is to be sent with, as far as the registry has asked for anything.
    pub(super) async fn authorization(
        &self,
        call: &Call<'_>,
        host: &Arc<Host>,
    ) -> Result<Option<Authorization>, Error> {
        let credential = self.settings.credentials.get(call.registry);
        match host.challenge() {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(credential
                .and_then(Credential::basic)
                .map(Authorization::Basic)),
            Some(Challenge::Bearer { realm, service }) => {
                let key = call.token_key();
                loop {
                    // Who waited in vain for another's token asks once: the service had its tries.
                    let has_waited = AtomicBool::new(false);
                    let fetch = async || {
                        let attempts = if has_waited.load(Ordering::Relaxed) {
                            1
                        } else {
                            self.settings.retry.attempts
                        };
                        self.fetch_token(call, &realm, service.as_deref(), attempts)
                            .await
                    };
                    let waits = |_| has_waited.store(true, Ordering::Relaxed);
                    let (token, role) = self.tokens.run(&key, waits, fetch).await?;
                    // One that was fetched just now is used, however short its life.
                    if token.is_fresh() || role == Role::Led {
                        return Ok(Some(Authorization::Bearer(token)));
                    }
                    self.tokens.forget_if(&key, |held| held.is(&token));
                }
            }
        }
    }

    /// Asks the token service, again where that may help.
    async fn fetch_token(
        &self,
        call: &Call<'_>,
        realm: &Url,
        service: Option<&str>,
        attempts_max: u32,
    ) -> Result<Token, Error> {
        let mut attempt = 1;
        loop {
            let asked = tokio::time::Instant::now();
            let fail = |kind| Error {
                method: Method::GET,
                url: shown(realm),
                attempts: attempt,
                kind,
                wait: None,
            };
            let (kind, wait) = match self.ask_for_token(call, realm, service).await {
                Ok(body) => {
                    let none = "the token service gave no token";
                    return Token::read(&body, asked)
                        .ok_or_else(|| fail(ErrorKind::Protocol(none)));
                }
                Err(failed) => failed,
            };
            let is_silence = matches!(kind, ErrorKind::Stalled(_));
            if attempt >= attempts_max || is_silence || !kind.is_passing() {
                return Err(fail(kind));
            }
            let pause = self.settings.retry.pause(attempt, wait);
            tracing::debug!(attempt, ?pause, registry = %call.registry, "asking for a token again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn ask_for_token(
        &self,
        call: &Call<'_>,
        realm: &Url,
        service: Option<&str>,
    ) -> Result<Bytes, (ErrorKind, Option<Duration>)> {
        let client = if is_loopback(realm) {
            &self.loopback
        } else {
            &self.outside
        };
        let credential = self.settings.credentials.get(call.registry);
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
            .map_err(|error| {
                (
                    ErrorKind::Network(NetworkError::Http(error.without_url())),
                    None,
                )
            })?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = read_all(&mut response, ANSWER_BYTES_MAX, limit)
            .await
            .map_err(|kind| (kind, None))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err((ErrorKind::of_status(Words::read(status, &body)), wait))
        }
    }
}
