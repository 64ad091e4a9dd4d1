//! What a request is about.

use std::borrow::Cow;

use http::Method;
use url::form_urlencoded;

/// What a path names. Where it names a repository, that is the first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Base,
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, u64),
    Tags(&'a str),
    Referrers(&'a str, &'a str),
    /// What was counted.
    Stats,
    /// Forget what was pushed and counted.
    Reset,
    Other,
}

impl<'a> Route<'a> {
    pub(super) fn read(path: &'a str) -> Self {
        match path {
            "/v2/" | "/v2" => Self::Base,
            "/_rig/stats" => Self::Stats,
            "/_rig/reset" => Self::Reset,
            _ => Self::in_repository(path).unwrap_or(Self::Other),
        }
    }

    fn in_repository(path: &'a str) -> Option<Self> {
        let (head, last) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
        if let Some(name) = head.strip_suffix("/manifests") {
            Some(Self::Manifest(name, last))
        } else if let Some(name) = head.strip_suffix("/blobs/uploads") {
            if last.is_empty() {
                return Some(Self::Uploads(name));
            }
            Some(Self::Upload(name, last.parse().ok()?))
        } else if let Some(name) = head.strip_suffix("/blobs") {
            if last == "uploads" {
                return Some(Self::Uploads(name));
            }
            Some(Self::Blob(name, last))
        } else if let Some(name) = head.strip_suffix("/referrers") {
            Some(Self::Referrers(name, last))
        } else {
            let name = head.strip_suffix("/tags").filter(|_| last == "list")?;
            Some(Self::Tags(name))
        }
    }

    pub(super) fn repository(self) -> Option<&'a str> {
        match self {
            Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
            Self::Base | Self::Stats | Self::Reset | Self::Other => None,
        }
    }

    /// The kind of a request, by the names of `scripts/measure.py`.
    pub(super) fn kind(self, method: &Method, query: &str) -> &'static str {
        match self {
            Self::Base => "ping",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => {
                if *method == Method::POST && query.contains("mount=") {
                    "mount"
                } else {
                    "upload"
                }
            }
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
            Self::Stats | Self::Reset | Self::Other => "other",
        }
    }
}

/// The query of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl<'a> Query<'a> {
    /// The first value of a name.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.0.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}
