//! Answers: their bodies, and errors as the specification wants them.

use std::fmt;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use crate::layout;
use crate::layout::BlobStream;
use crate::oci::Digest;

/// The error of a body that could not be sent to its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. One that ends with an error makes the server cut the connection, so that
/// nobody takes a part for the whole.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of these bytes.
pub fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) fn stream(blob: BlobStream) -> Body {
    StreamBody::new(blob.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
}

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// An answer under construction that cannot fail: a header that does not fit is left out.
#[derive(Debug)]
pub(super) struct Answer(Response<Body>);

impl Answer {
    pub(super) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(body(Bytes::new()));
        *response.status_mut() = status;
        // Docker looks for it before it believes that this is a registry.
        let version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert(API_VERSION, version);
        Self(response)
    }

    pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Self {
        Self::new(status)
            .header(header::CONTENT_TYPE, "application/json")
            .text(value.to_string())
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        if let Ok(value) = HeaderValue::try_from(value.to_string()) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    pub(super) fn digest(self, digest: &Digest) -> Self {
        self.header(CONTENT_DIGEST, digest)
    }

    /// A whole body; its length is stated, so that the answer to a HEAD has it too.
    pub(super) fn text(self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len();
        self.header(header::CONTENT_LENGTH, length)
            .body(body(bytes))
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        *self.0.body_mut() = body;
        self
    }

    pub(super) fn done(self) -> Response<Body> {
        self.0
    }
}

/// A code of the specification (OCI distribution specification 1.1, "Error Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    TooManyRequests,
    Unsupported,
    Unknown,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::PaginationNumberInvalid
            | Self::SizeInvalid
            | Self::TagInvalid => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    errors: Vec<(Code, String, serde_json::Value)>,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            status: code.status(),
            errors: vec![(code, message.to_string(), serde_json::Value::Null)],
            headers: Vec::new(),
        }
    }

    /// All that a manifest names and that is not there, so that a client can learn it at once.
    pub(super) fn missing(digests: &[Digest]) -> Self {
        let error = |digest: &Digest| {
            (
                Code::ManifestBlobUnknown,
                format!("the manifest names `{digest}`, which this repository does not have"),
                serde_json::json!({ "digest": digest }),
            )
        };
        Self {
            status: Code::ManifestBlobUnknown.status(),
            errors: digests.iter().map(error).collect(),
            headers: Vec::new(),
        }
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn answer(self) -> Response<Body> {
        let errors: Vec<serde_json::Value> = self
            .errors
            .into_iter()
            .map(|(code, message, detail)| {
                let mut error = serde_json::json!({ "code": code.name(), "message": message });
                if !detail.is_null()
                    && let Some(fields) = error.as_object_mut()
                {
                    fields.insert("detail".to_owned(), detail);
                }
                error
            })
            .collect();
        let document = serde_json::json!({ "errors": errors });
        let answer = Answer::json(self.status, &document);
        self.headers
            .into_iter()
            .fold(answer, |answer, (name, value)| answer.header(name, value))
            .done()
    }
}

impl From<layout::Error> for Refusal {
    /// The disk is nothing a client should know of; whoever runs the server sees it in the log.
    fn from(error: layout::Error) -> Self {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "the layout failed");
        Self::new(Code::Unknown, "the storage of this registry failed")
    }
}
