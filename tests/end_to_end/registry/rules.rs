//! Scripted faults: when a request fits, something goes wrong.
//!
//! ```ignore
//! registry.rule(when("GET", "/v2/*/blobs/*").nth(1).cut_body_after(100));
//! registry.rule(when("PUT", "*/manifests/*").times(2).respond(503).header("retry-after", "1"));
//! let stalled = registry.rule(when("PATCH", "*").stall());
//! stalled.hit(1).await;
//! stalled.release();
//! ```
//!
//! Whole scripts of them read as a table: see [`super::script`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use consign::serve::{Body, BodyError, body};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response};
use tokio::sync::{Semaphore, watch};

use crate::program::patiently;

use super::bodies::{corrupt, cut, rewrite, sent, stall, trickle};

/// Begins a rule for requests of `method` (`*` for any) whose path fits `path`, where `*` stands for
/// any text. A pattern with a `?` is compared with path and query.
pub(crate) fn when(method: &str, path: &str) -> When {
    When {
        method: method.to_owned(),
        path: path.to_owned(),
        first: 1,
        last: usize::MAX,
    }
}

pub(super) fn fits(
    method: &str,
    pattern: &str,
    (own_method, path, query): (&Method, &str, &str),
) -> bool {
    let whole = if pattern.contains('?') {
        format!("{path}?{query}")
    } else {
        path.to_owned()
    };
    (method == "*" || method == own_method.as_str()) && is_like(pattern, &whole)
}

fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            rest.is_empty()
                || (0..=text.len())
                    .filter_map(|at| text.get(at..))
                    .any(|end| is_like(rest, end))
        }),
    }
}

/// Which requests a rule is for; how many of those that fit is counted from 1.
#[derive(Debug)]
pub(crate) struct When {
    method: String,
    path: String,
    first: usize,
    last: usize,
}

impl When {
    /// Only the `n`th that fits.
    pub(crate) const fn nth(mut self, n: usize) -> Self {
        self.first = n;
        self.last = n;
        self
    }

    /// Only the first `k` that fit.
    pub(crate) const fn times(mut self, k: usize) -> Self {
        self.last = k;
        self
    }

    /// Only from the `n`th to the `k`th.
    pub(super) const fn between(mut self, n: usize, k: usize) -> Self {
        self.first = n;
        self.last = k;
        self
    }

    /// Only from the `n`th on.
    pub(crate) const fn from(mut self, n: usize) -> Self {
        self.first = n;
        self
    }

    const fn before(self, fault: Before) -> Rule {
        Rule {
            when: self,
            fault: Fault::Before(fault),
        }
    }

    const fn after(self, fault: After) -> Rule {
        Rule {
            when: self,
            fault: Fault::After(fault),
        }
    }

    /// Answers with `status`, an empty body, and once the body of the request was read. See
    /// [`Rule::header`], [`Rule::body`], [`Rule::early`].
    pub(crate) fn respond(self, status: u16) -> Rule {
        self.before(Before::Respond(Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            reads: Reads::All,
        }))
    }

    /// Answers 307 to another place.
    pub(crate) fn redirect(self, to: &str) -> Rule {
        self.respond(307).header("location", to)
    }

    /// Waits before anything else.
    pub(crate) fn delay(self, time: Duration) -> Rule {
        self.before(Before::Delay(time))
    }

    /// Does not answer until released; then goes on as usual.
    pub(crate) fn stall(self) -> Rule {
        self.before(Before::Stall)
    }

    /// Hears nothing of a header of the request.
    pub(crate) fn ignore_header(self, name: &str) -> Rule {
        self.before(Before::IgnoreHeader(header_name(name)))
    }

    /// Closes the connection instead of answering; nothing was done.
    pub(crate) fn hang_up(self) -> Rule {
        self.before(Before::HangUp)
    }

    /// Does what was asked, then closes the connection instead of answering.
    pub(crate) fn lose_answer(self) -> Rule {
        self.after(After::LoseAnswer)
    }

    /// Does what was asked, then answers with another status and an empty body.
    pub(crate) fn answer_with(self, status: u16) -> Rule {
        self.after(After::AnswerWith(status))
    }

    /// Closes the connection after so many bytes of the request's body.
    pub(crate) fn cut_request_after(self, bytes: usize) -> Rule {
        self.before(Before::CutRequest(bytes))
    }

    /// Reads no more than so many bytes of the request's body, and waits.
    pub(crate) fn stall_request_after(self, bytes: usize) -> Rule {
        self.before(Before::StallRequest(bytes))
    }

    /// Closes the connection after so many bytes of the answer's body. A client that is slower than
    /// its socket's buffer may see fewer of them.
    pub(crate) fn cut_body_after(self, bytes: usize) -> Rule {
        self.after(After::CutBody(bytes))
    }

    /// Stops after so many bytes of the answer's body, until released.
    pub(crate) fn stall_body_after(self, bytes: usize) -> Rule {
        self.after(After::StallBody(bytes))
    }

    /// Sends the answer's body in pieces of `bytes`, with a pause after each.
    pub(crate) fn trickle(self, bytes: usize, pause: Duration) -> Rule {
        self.after(After::Trickle(bytes, pause))
    }

    /// Changes the first byte of the answer's body, not its length.
    pub(crate) fn corrupt_body(self) -> Rule {
        self.corrupt_body_at(0)
    }

    /// Changes one byte of the answer's body, not its length.
    pub(crate) fn corrupt_body_at(self, offset: usize) -> Rule {
        self.after(After::CorruptBody(offset))
    }

    /// Serves other bytes, with their true length, and all other headers as they were.
    pub(crate) fn replace_body(self, bytes: impl Into<Bytes>) -> Rule {
        self.after(After::ReplaceBody(bytes.into()))
    }

    /// Says a length that differs from the true one by so many bytes.
    pub(crate) fn wrong_length(self, by: i64) -> Rule {
        self.after(After::WrongLength(by))
    }

    /// Leaves a header out of the answer; without `content-length` the body comes in chunks.
    pub(crate) fn drop_header(self, name: &str) -> Rule {
        self.after(After::DropHeader(header_name(name)))
    }

    /// Sets a header of the answer; in its value `{}` stands for what it was, `{last}` for that from the last
    /// slash on.
    pub(crate) fn set_header(self, name: &str, value: &str) -> Rule {
        self.after(After::SetHeader(header_name(name), value.to_owned()))
    }
}

fn header_name(name: &str) -> HeaderName {
    name.parse().expect("the name of a header")
}

/// A fault and when it happens.
#[derive(Debug)]
pub(crate) struct Rule {
    when: When,
    fault: Fault,
}

impl Rule {
    fn answer(mut self, change: impl FnOnce(&mut Answer)) -> Self {
        let Fault::Before(Before::Respond(answer)) = &mut self.fault else {
            panic!("{:?} makes no answer of its own", self.fault);
        };
        change(answer);
        self
    }

    /// A header of the answer; for [`When::respond`].
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header");
        self.answer(|answer| answer.headers.push((header_name(name), value)))
    }

    /// The body of the answer; for [`When::respond`].
    pub(crate) fn body(self, bytes: impl Into<Bytes>) -> Self {
        self.answer(|answer| answer.body = bytes.into())
    }

    /// One error as the specification writes it; for [`When::respond`].
    pub(crate) fn error(self, code: &str) -> Self {
        let document =
            serde_json::json!({ "errors": [{ "code": code, "message": "as scripted" }] });
        self.header("content-type", "application/json")
            .body(document.to_string())
    }

    /// Answers without reading the body of the request, as servers do that refuse early; the client
    /// may see a broken connection. For [`When::respond`].
    pub(crate) fn early(self) -> Self {
        self.answer(|answer| answer.reads = Reads::Nothing)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) reads: Reads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    All,
    Nothing,
}

impl Answer {
    pub(super) fn response(self) -> Response<Body> {
        let mut response = Response::new(body(self.body));
        *response.status_mut() = self.status.try_into().expect("a status");
        response.headers_mut().extend(self.headers);
        response
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Before(Before),
    After(After),
}

/// Before the registry is asked, or instead.
#[derive(Debug, Clone)]
pub(super) enum Before {
    Respond(Answer),
    Delay(Duration),
    Stall,
    HangUp,
    IgnoreHeader(HeaderName),
    CutRequest(usize),
    StallRequest(usize),
}

/// Once the registry has answered.
#[derive(Debug, Clone)]
pub(super) enum After {
    LoseAnswer,
    AnswerWith(u16),
    CutBody(usize),
    StallBody(usize),
    Trickle(usize, Duration),
    CorruptBody(usize),
    ReplaceBody(Bytes),
    WrongLength(i64),
    DropHeader(HeaderName),
    SetHeader(HeaderName, String),
}

/// A rule at work: counts its hits, and lets go what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(super) hits: Arc<watch::Sender<usize>>,
    /// Closed once it is released.
    pub(super) gate: Arc<Semaphore>,
}

impl Active {
    /// How often the fault happened.
    pub(crate) fn hits(&self) -> usize {
        *self.hits.borrow()
    }

    /// Waits until the fault happened `n` times.
    pub(crate) async fn hit(&self, n: usize) {
        let mut hits = self.hits.subscribe();
        let hit = hits.wait_for(|hits| *hits >= n);
        patiently("a rule to be hit", hit).await.expect("a rule");
    }

    /// Lets everything go on that this rule stalled or would stall.
    pub(crate) fn release(&self) {
        self.gate.close();
    }

    pub(super) async fn released(&self) {
        // No permit is ever given: the wait ends when the gate is closed.
        drop(self.gate.acquire().await);
    }
}

/// The rules of a registry, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Counted>>);

#[derive(Debug)]
struct Counted {
    rule: Rule,
    seen: usize,
    active: Active,
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) -> Active {
        let active = Active {
            hits: Arc::new(watch::Sender::new(0)),
            gate: Arc::new(Semaphore::new(0)),
        };
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push(Counted {
            rule,
            seen: 0,
            active: active.clone(),
        });
        active
    }

    pub(super) fn clear(&self) {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for counted in rules.drain(..) {
            counted.active.release();
        }
    }

    /// What shall happen to this request.
    pub(super) fn faults(&self, request: (&Method, &str, &str)) -> Vec<(Fault, Active)> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Vec::new();
        for counted in rules.iter_mut() {
            let when = &counted.rule.when;
            if fits(&when.method, &when.path, request) {
                counted.seen += 1;
                if (when.first..=when.last).contains(&counted.seen) {
                    counted.active.hits.send_modify(|hits| *hits += 1);
                    faults.push((counted.rule.fault.clone(), counted.active.clone()));
                }
            }
        }
        faults
    }
}

/// What a fault does to an answer that the registry made.
pub(super) fn spoil(
    response: &mut Response<Body>,
    fault: After,
    active: Active,
) -> Result<(), BodyError> {
    match fault {
        After::LoseAnswer => return Err("the answer is lost".into()),
        After::AnswerWith(status) => {
            *response = Response::builder().status(status).body(body(""))?;
        }
        After::CutBody(bytes) => rewrite(response, |old| cut(old, bytes)),
        After::StallBody(bytes) => rewrite(response, |old| stall(old, bytes, active)),
        After::Trickle(bytes, pause) => rewrite(response, |old| trickle(old, bytes, pause)),
        After::CorruptBody(offset) => rewrite(response, |old| corrupt(old, offset)),
        After::ReplaceBody(bytes) => {
            let length = HeaderValue::from(bytes.len());
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            *response.body_mut() = body(bytes);
        }
        After::WrongLength(by) => {
            let headers = response.headers_mut();
            let length = headers.get(header::CONTENT_LENGTH).ok_or("no length")?;
            let length: i64 = length.to_str()?.parse()?;
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length + by));
            rewrite(response, sent);
        }
        After::DropHeader(name) => {
            response.headers_mut().remove(name);
            rewrite(response, |old| old);
        }
        After::SetHeader(name, value) => {
            let old = response.headers().get(&name);
            let old = old.and_then(|old| old.to_str().ok()).unwrap_or_default();
            let last = old.rsplit('/').next().unwrap_or_default();
            let value = value.replace("{}", old).replace("{last}", last);
            let value = HeaderValue::from_str(&value)?;
            response.headers_mut().insert(name, value);
        }
    }
    Ok(())
}
