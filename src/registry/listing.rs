//! Lists, page by page: tags, and the referrers of a manifest.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use crate::limits::answer::{
    REFERRER_PAGE_BYTES_MAX, REFERRER_PAGES_MAX, REFERRERS_BYTES_MAX, REFERRERS_MAX,
    TAG_PAGE_BYTES_MAX, TAG_PAGES_MAX,
};
use crate::oci::{Descriptor, Digest, Measure, MediaType, Repository, Tag};

use super::auth::Access;
use super::call::{Call, Fetched, Target};
use super::client::Client;
use super::documents::{Bound, FREE_BYTES, as_document, as_it_is};
use super::error::{Error, ErrorKind};
use super::limit::Kind;
use super::link;
use super::tag_page::{Kept, TagPage};

/// Tags asked for per page; ECR refuses more (go-containerregistry #1091).
const TAGS_PER_PAGE: usize = 1000;

/// How large a page of tags may be.
const TAG_PAGE: Bound = Bound {
    bytes: TAG_PAGE_BYTES_MAX,
    weigh: as_it_is,
    free: FREE_BYTES,
};

/// How large a page of referrers may be.
const REFERRER_PAGE: Bound = Bound {
    bytes: REFERRER_PAGE_BYTES_MAX,
    weigh: as_document,
    free: FREE_BYTES,
};

/// One entry of a list of referrers.
pub struct Listed {
    /// What it says.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub raw: Box<RawValue>,
    /// The page that it stood in, which holds the room for both.
    pub page: Bytes,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.raw, f)
    }
}

/// What a registry answers when it is asked for the referrers of a manifest.
#[derive(Debug)]
pub enum Listing {
    /// All of them, each with the bytes of its entry, in the registry's order; there may be none.
    Listed(Vec<Listed>),
    /// It has no referrers API, whatever it is asked for.
    Unsupported,
    /// It does not list those of this subject, and that says nothing of others: the repository or the
    /// manifest is not known, or the request was not understood. (Where there is an API, an unknown
    /// subject has an empty list by the specification; not all keep to it.)
    Unanswered,
}

/// Which page comes next.
struct Pages<'a> {
    repository: &'a Repository,
    access: Access,
    base: Url,
    target: Option<Target>,
    /// The pages that were asked for, and those that answered.
    seen: HashSet<Url>,
    /// Whether the next page is asked for without having been named.
    is_beyond: bool,
}

impl Pages<'_> {
    /// Reads one page; `None` after the last one.
    async fn read(&mut self, client: &Client, bound: Bound) -> Result<Option<Fetched>, Error> {
        let Some(target) = self.target.take() else {
            return Ok(None);
        };
        if let Target::Url(url) = &target {
            self.seen.insert(url.clone());
        }
        let call = || Call {
            target: target.clone(),
            kind: Kind::Lists,
            ..client.call(self.repository, self.access, Method::GET, String::new())
        };
        let answer = client.document(call, bound).await?;
        self.seen.insert(answer.url.clone());
        let next = next_page(&answer, &self.base)
            .map_err(|()| answer.error(ErrorKind::Protocol("its next page is elsewhere")))?;
        if next.as_ref().is_some_and(|next| self.seen.contains(next)) {
            return Err(answer.error(ErrorKind::Protocol(
                "its list leads back to a page that was read",
            )));
        }
        self.target = next.map(Target::Url);
        Ok(Some(answer))
    }

    /// Where `page` was full and named no other one, a client may have to ask for more by itself: the
    /// `Link` is optional there (OCI distribution specification 1.1, "Listing Tags").
    fn ask_beyond(&mut self, page: &TagPage) {
        self.is_beyond = self.target.is_none() && page.count == TAGS_PER_PAGE;
        if self.is_beyond
            && let Some(last) = &page.last
        {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("n", &TAGS_PER_PAGE.to_string())
                .append_pair("last", last)
                .finish();
            let path = format!("{}/tags/list?{query}", self.repository.path());
            self.target = Some(Target::Path(path));
        }
    }
}

impl Client {
    async fn pages<'a>(
        &self,
        repository: &'a Repository,
        path: String,
        access: Access,
    ) -> Result<Pages<'a>, Error> {
        Ok(Pages {
            repository,
            access,
            base: self.transport.base(repository, self.side(access)).await?,
            target: Some(Target::Path(path)),
            seen: HashSet::new(),
            is_beyond: false,
        })
    }

    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; a list without an end is an error, never a part of it.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, Error> {
        let tags = self.tags_where(repository, TAG_PAGES_MAX, &|_| true);
        tags.await?
            .ok_or_else(|| endless(repository, "its list of tags has more than 1,000 pages"))
    }

    /// The tags of a repository that `is_wanted`, in the registry's order; others are not even looked at.
    ///
    /// `None` when the list has more than `pages_max` pages: a part of it would say nothing of the rest.
    /// A registry that refuses a number of tags is asked without one (ECR does above 1000, ggcr #1091).
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Protocol`] for what is no list, and for one that runs in a circle.
    pub async fn tags_where(
        &self,
        repository: &Repository,
        pages_max: usize,
        is_wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<Option<Vec<Tag>>, Error> {
        let path = format!("{}/tags/list", repository.path());
        let numbered = format!("{path}?n={TAGS_PER_PAGE}");
        let mut pages = self.pages(repository, numbered, Access::Pull).await?;
        let mut tags = Kept::default();
        let mut first_before = None;
        for number in 0..pages_max {
            let answer = match pages.read(self, TAG_PAGE).await {
                Err(error) if number == 0 && is_number_refused(&error.kind) => {
                    pages.target = Some(Target::Path(path.clone()));
                    pages.read(self, TAG_PAGE).await?
                }
                answered => answered?,
            };
            let Some(answer) = answer else {
                return Ok(Some(tags.tags));
            };
            let fail = |what| answer.error(ErrorKind::Protocol(answer.page_or(what)));
            let before = tags.tags.len();
            let page = TagPage::read(&answer.body, &mut |text| {
                if is_wanted(text) {
                    tags.add(text)
                } else {
                    Ok(())
                }
            });
            let page = page.map_err(fail)?;
            if pages.is_beyond && page.first == first_before {
                // It takes no notice of where to go on, and had given all that it has.
                tags.tags.truncate(before);
                return Ok(Some(tags.tags));
            }
            pages.ask_beyond(&page);
            first_before = page.first;
        }
        Ok(pages.target.is_none().then_some(tags.tags))
    }

    /// What refers to the manifest with `subject`, by the referrers API (OCI distribution specification 1.1,
    /// "Listing Referrers"). Never filtered: what an entry says of its type may be wrong.
    ///
    /// Registries without the API answer in many ways: 404 with a page of text (distribution 2.8, GHCR),
    /// 400, 405, 406 or 501.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`], throttling and refused credentials included. A success that is no index, a login
    /// page for instance, and a list beyond a limit (10,000 entries, 500 pages, 4 MiB a page, 6 MiB) are
    /// errors, never an empty list or a part of one.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        access: Access,
    ) -> Result<Listing, Error> {
        let path = format!("{}/referrers/{subject}", repository.path());
        let mut pages = self.pages(repository, path, access).await?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for number in 0..REFERRER_PAGES_MAX {
            let free = if number == 0 { FREE_BYTES } else { 0 };
            let page = Bound {
                free,
                ..REFERRER_PAGE
            };
            let answer = match pages.read(self, page).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Listing::Listed(entries)),
                // Only the first page can say that there is no list.
                Err(error) if number == 0 => return unlisted(error),
                Err(error) => return Err(error),
            };
            let fail = |what| answer.error(ErrorKind::Protocol(answer.page_or(what)));
            bytes += answer.body.len();
            if bytes > REFERRERS_BYTES_MAX {
                return Err(fail("its list of referrers has more than 6 MiB"));
            }
            read_entries(&answer.body, &mut entries).map_err(fail)?;
        }
        if pages.target.is_none() {
            return Ok(Listing::Listed(entries));
        }
        Err(endless(
            repository,
            "its list of referrers has more than 500 pages",
        ))
    }
}

fn endless(repository: &Repository, what: &'static str) -> Error {
    Error {
        method: Method::GET,
        wait: None,
        url: repository.to_string(),
        attempts: 1,
        kind: ErrorKind::Protocol(what),
    }
}

/// What an answer other than a list means for the list of referrers.
fn unlisted(error: Error) -> Result<Listing, Error> {
    if error.kind.is_unsupported() {
        return Ok(Listing::Unsupported);
    }
    match &error.kind {
        // A route that is not there has no error of the specification; a name that is not known has.
        ErrorKind::NotFound(words) if words.code.is_empty() => Ok(Listing::Unsupported),
        ErrorKind::NotFound(_) => Ok(Listing::Unanswered),
        ErrorKind::Refused(words)
            if matches!(
                words.status,
                StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE
            ) =>
        {
            Ok(Listing::Unanswered)
        }
        ErrorKind::Unauthorized(_)
        | ErrorKind::CredentialRefused(_)
        | ErrorKind::RateLimited(_)
        | ErrorKind::Server(_)
        | ErrorKind::Conflict(_)
        | ErrorKind::Refused(_)
        | ErrorKind::Network(_)
        | ErrorKind::Stalled(_)
        | ErrorKind::Integrity(_)
        | ErrorKind::Document(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::TooLong(_)
        | ErrorKind::Untrusted(_) => Err(error),
    }
}

/// Reads the entries of one page.
pub(super) fn read_entries(body: &Bytes, entries: &mut Vec<Listed>) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page<'a> {
        media_type: Option<MediaType>,
        // Go programs write `null` for an empty list, but they write it.
        #[serde(borrow)]
        manifests: Entries<'a>,
    }
    #[derive(Deserialize)]
    struct Entries<'a>(#[serde(borrow)] Option<Vec<&'a RawValue>>);

    if Measure::of(body).check().is_err() {
        return Err("its list of referrers has a page of more than 120,000 values");
    }
    let page: Page<'_> = serde_json::from_slice(body).map_err(|_| "it is no list of referrers")?;
    if page
        .media_type
        .is_some_and(|own| own != MediaType::OciIndex)
    {
        return Err("it calls its list of referrers something else");
    }
    for raw in page.manifests.0.unwrap_or_default() {
        if entries.len() == REFERRERS_MAX {
            return Err("its list of referrers has more than 10,000 entries");
        }
        let descriptor =
            serde_json::from_str(raw.get()).map_err(|_| "it lists what is no descriptor")?;
        entries.push(Listed {
            descriptor,
            raw: raw.to_owned(),
            page: body.clone(),
        });
    }
    Ok(())
}

/// Whether a list may be had without the number of entries that was asked for.
fn is_number_refused(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Refused(words) if matches!(
        words.status,
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED
    ))
}

/// The next page by `Link` (RFC 8288), which must be at the registry's own origin, and so must be who says so.
fn next_page(answer: &Fetched, base: &Url) -> Result<Option<Url>, ()> {
    let Some(target) = answer.headers("link").find_map(link::next_target) else {
        return Ok(None);
    };
    next_url(target, &answer.url, base).map(Some)
}

/// The page at `target`, as an answer of `asked` names it; `base` is the registry.
pub(super) fn next_url(target: &str, asked: &Url, base: &Url) -> Result<Url, ()> {
    let mut url = asked.join(target).map_err(drop)?;
    url.set_fragment(None);
    let is_at_home = |url: &Url| url.origin() == base.origin();
    if is_at_home(&url) && is_at_home(asked) {
        Ok(url)
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Words;
    use super::*;

    fn read(page: &str) -> Result<Vec<Listed>, &'static str> {
        let mut entries = Vec::new();
        read_entries(&Bytes::copy_from_slice(page.as_bytes()), &mut entries)?;
        Ok(entries)
    }

    fn answered(status: u16, body: &str) -> Result<Listing, Error> {
        let status = StatusCode::from_u16(status).unwrap();
        unlisted(Error {
            method: Method::GET,
            wait: None,
            url: String::new(),
            attempts: 1,
            kind: ErrorKind::of_status(Words::read(status, body.as_bytes(), &[])),
        })
    }

    #[test]
    fn entries_keep_their_bytes() {
        let digest = Digest::sha256(b"x");
        let entry =
            format!(r#"{{ "size":1,  "digest":"{digest}","mediaType":"a/b", "odd": [1.50] }}"#);
        let page = format!(r#"{{"manifests": [ {entry} ,{entry}], "schemaVersion":2}}"#);
        let entries = read(&page).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].descriptor.digest, digest);
        assert_eq!(entries[1].raw.get(), entry);
    }

    #[test]
    fn only_a_list_is_a_list() {
        assert!(read(r#"{"manifests":[]}"#).unwrap().is_empty());
        assert!(read(r#"{"manifests":null}"#).unwrap().is_empty());
        let digest = Digest::sha256(b"");
        for bad in [
            "",
            "{}",
            "[]",
            "<html>login</html>",
            r#"{"errors":[]}"#,
            r#"{"manifests":{}}"#,
            r#"{"manifests":[{}]}"#,
            r#"{"manifests":[],"manifests":[]}"#,
            r#"{"manifests":[],"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
            &format!(r#"{{"manifests":[{{"digest":"{digest}","size":-1,"mediaType":"a/b"}}]}}"#),
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_entries_than_the_limit_are_an_error() {
        let digest = Digest::sha256(b"");
        let entry = format!(r#"{{"digest":"{digest}","size":0,"mediaType":"a/b"}}"#);
        let page = |count| format!(r#"{{"manifests":[{}]}}"#, vec![&*entry; count].join(","));
        assert_eq!(read(&page(REFERRERS_MAX)).unwrap().len(), REFERRERS_MAX);
        let error = read(&page(REFERRERS_MAX + 1)).unwrap_err();
        assert!(error.contains("10,000"), "{error}");
    }

    #[test]
    fn only_an_answer_says_that_there_is_no_list() {
        let error = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":""}}]}}"#);
        for (status, body) in [
            (404, "404 page not found".to_owned()),
            (404, error("UNSUPPORTED")),
            (400, error("UNSUPPORTED")),
            (405, String::new()),
            (501, String::new()),
        ] {
            let listing = answered(status, &body);
            assert!(matches!(listing, Ok(Listing::Unsupported)), "{status}");
        }
        for (status, code) in [
            (404, "NAME_UNKNOWN"),
            (404, "MANIFEST_UNKNOWN"),
            (404, "NOT_FOUND"),
            (400, "DIGEST_INVALID"),
            (406, ""),
        ] {
            let listing = answered(status, &error(code));
            assert!(matches!(listing, Ok(Listing::Unanswered)), "{status}");
        }
        for status in [301, 401, 403, 408, 409, 412, 418, 429, 500, 502, 503, 504] {
            assert!(answered(status, "").is_err(), "{status}");
        }
        assert!(answered(401, &error("NAME_UNKNOWN")).is_err());
    }
}
