//! What a product has around its registry: paths of its own, and refusals of its own.

use std::fmt;

use consign::serve::Body;
use http::header::{self, HeaderMap};
use http::{Method, Response};

/// The product around a test registry.
pub(crate) trait Annex: fmt::Debug + Send + Sync {
    /// Answers a request that is neither below `/v2/` nor for a token; nothing where there is no such
    /// path.
    fn answer(&self, request: &Asked<'_>) -> Option<Response<Body>>;

    /// Refuses a request below `/v2/` that came past the door; its body is not there yet.
    fn refuse(&self, request: &Asked<'_>) -> Option<Response<Body>>;
}

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The path.
    pub(crate) path: &'a str,
    /// The query, or nothing.
    pub(crate) query: &'a str,
    /// All headers.
    pub(crate) headers: &'a HeaderMap,
    /// The body; nothing below `/v2/`.
    pub(crate) body: &'a [u8],
}

impl Asked<'_> {
    /// User and password, where they are given as Basic.
    pub(crate) fn who(&self) -> Option<(String, String)> {
        let value = self.headers.get(header::AUTHORIZATION)?;
        super::basic(value.to_str().ok()?)
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}
