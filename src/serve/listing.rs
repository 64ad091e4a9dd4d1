//! Lists: tags, repositories, referrers.

use std::fmt;

use http::StatusCode;
use http::header;
use http::header::HeaderName;
use url::form_urlencoded;

use crate::layout::RepositoryPath;
use crate::oci::{Digest, MediaType, Tag};

use super::Registry;
use super::answer::{Answer, Code, Refusal};
use super::route::Query;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Registry {
    pub(super) fn list_tags(
        &self,
        repository: &RepositoryPath,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let tags = self.layout.tags(repository);
        if tags.is_none() && !self.catalog().has_repository(repository) {
            return Err(Refusal::new(
                Code::NameUnknown,
                format_args!("there is no repository `{repository}`"),
            ));
        }
        let tags = tags.unwrap_or_default();
        let page = Page::cut(tags.iter().map(Tag::as_str), query)?;
        let document = serde_json::json!({ "name": repository.as_str(), "tags": page.items });
        Ok(page.answer(&format!("/v2/{repository}/tags/list"), &document))
    }

    pub(super) fn list_repositories(&self, query: &Query) -> Result<Answer, Refusal> {
        let repositories = self.repositories();
        let page = Page::cut(repositories.iter().map(RepositoryPath::as_str), query)?;
        let document = serde_json::json!({ "repositories": page.items });
        Ok(page.answer("/v2/_catalog", &document))
    }

    pub(super) fn list_referrers(
        &self,
        repository: &RepositoryPath,
        subject: &Digest,
        query: &Query,
    ) -> Answer {
        let wanted = query.get("artifactType").filter(|text| !text.is_empty());
        let manifests = self.catalog().referrers(repository, subject, wanted);
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciIndex,
            "manifests": manifests,
        });
        let answer = Answer::json(StatusCode::OK, &document)
            .header(header::CONTENT_TYPE, MediaType::OciIndex);
        match wanted {
            Some(_) => answer.header(FILTERS_APPLIED, "artifactType"),
            None => answer,
        }
    }
}

/// A page of a sorted list.
struct Page<'a> {
    items: Vec<&'a str>,
    /// The query of the next page, where there is one.
    next: Option<String>,
}

impl<'a> Page<'a> {
    fn cut(all: impl Iterator<Item = &'a str>, query: &Query) -> Result<Self, Refusal> {
        let limit: Option<usize> = match query.get("n") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Refusal::new(
                    Code::PaginationNumberInvalid,
                    format_args!("`n` is not a number of items, from 0 to {}", usize::MAX),
                )
            })?),
        };
        let last = query.get("last").unwrap_or_default();
        let mut rest = all.filter(|item| *item > last);
        let items: Vec<&str> = match limit {
            Some(limit) => rest.by_ref().take(limit).collect(),
            None => rest.by_ref().collect(),
        };
        // An empty page has no last item that a next one could follow.
        let next = match (limit, items.last(), rest.next()) {
            (Some(limit), Some(last), Some(_)) => Some(
                form_urlencoded::Serializer::new(String::new())
                    .append_pair("n", &limit.to_string())
                    .append_pair("last", last)
                    .finish(),
            ),
            _ => None,
        };
        Ok(Self { items, next })
    }

    fn answer(&self, path: &str, document: &serde_json::Value) -> Answer {
        let answer = Answer::json(StatusCode::OK, document);
        match &self.next {
            Some(next) => answer.header(header::LINK, Link { path, next }),
            None => answer,
        }
    }
}

struct Link<'a> {
    path: &'a str,
    next: &'a str,
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}?{}>; rel=\"next\"", self.path, self.next)
    }
}
