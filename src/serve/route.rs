//! What a request asks for: paths and queries read into types that cannot be wrong.

use http::{Method, StatusCode, Uri};
use url::form_urlencoded;

use crate::layout::RepositoryPath;
use crate::limits::serve::REQUEST_PATH_BYTES_MAX;
use crate::oci::{Digest, Identifier, Tag};

use super::answer::{Code, Refusal};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryPath),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryPath, Identifier),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryPath, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryPath),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryPath, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryPath, Digest),
}

impl Route {
    /// Reads a path.
    pub(super) fn read(uri: &Uri) -> Result<Self, Refusal> {
        let unknown = || {
            Refusal::new(Code::Unsupported, "this is no path of the registry API")
                .status(StatusCode::NOT_FOUND)
        };
        let path = uri.path();
        if path.len() > REQUEST_PATH_BYTES_MAX {
            return Err(
                Refusal::new(Code::NameInvalid, "the path is longer than any name")
                    .status(StatusCode::URI_TOO_LONG),
            );
        }
        let path = decode(path).ok_or_else(unknown)?;
        if path == "/v2" {
            return Ok(Self::Base);
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
        match rest {
            "" => return Ok(Self::Base),
            "_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(repository(name)?));
        }
        // The last part is what is asked for, the one before says what kind of thing it is; a
        // repository may itself have parts of these names.
        let (front, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(repository(name)?, last.to_owned()));
        }
        let (name, kind) = front.rsplit_once('/').ok_or_else(unknown)?;
        match kind {
            "manifests" => {
                let identifier = if last.contains(':') {
                    Identifier::Digest(digest(last)?)
                } else {
                    let tag: Tag = last
                        .parse()
                        .map_err(|error| Refusal::new(Code::TagInvalid, error))?;
                    Identifier::Tag(tag)
                };
                Ok(Self::Manifest(repository(name)?, identifier))
            }
            "blobs" => Ok(Self::Blob(repository(name)?, digest(last)?)),
            "referrers" => Ok(Self::Referrers(repository(name)?, digest(last)?)),
            _ => Err(unknown()),
        }
    }
}

fn repository(name: &str) -> Result<RepositoryPath, Refusal> {
    name.parse()
        .map_err(|error| Refusal::new(Code::NameInvalid, error))
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error| Refusal::new(Code::DigestInvalid, error))
}

/// Undoes percent-encoding; `None` where it is broken or hides no text.
fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = path.bytes();
    let mut plain = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            plain.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).ok()
}

/// The query of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The digest under `name`, if it is there.
    pub(super) fn digest(&self, name: &str) -> Result<Option<Digest>, Refusal> {
        self.get(name).map(digest).transpose()
    }
}

/// Whether a request would change something.
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Result<Route, u16> {
        let uri = Uri::try_from(path).map_err(|_| 0_u16)?;
        Route::read(&uri).map_err(|refusal| refusal.answer().status().as_u16())
    }

    #[test]
    fn paths_name_things() {
        let digest = Digest::sha256(b"");
        let name = |text: &str| text.parse::<RepositoryPath>().unwrap();
        let odd = name("a/manifests/blobs/uploads");
        for (path, route) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog?n=1".to_owned(), Route::Catalog),
            (
                "/v2/a/manifests/blobs/uploads/tags/list".to_owned(),
                Route::Tags(odd.clone()),
            ),
            (
                format!("/v2/a/b/manifests/{digest}"),
                Route::Manifest(name("a/b"), Identifier::Digest(digest)),
            ),
            (
                "/v2/a/b/manifests/v1".to_owned(),
                Route::Manifest(name("a/b"), Identifier::Tag("v1".parse().unwrap())),
            ),
            (
                format!("/v2/a/manifests/blobs/uploads/blobs/{digest}"),
                Route::Blob(odd, digest),
            ),
            (
                format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")),
                Route::Blob(name("a"), digest),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            (
                "/v2/a/blobs/uploads/x-1".to_owned(),
                Route::Upload(name("a"), "x-1".to_owned()),
            ),
            (
                format!("/v2/a/referrers/{digest}"),
                Route::Referrers(name("a"), digest),
            ),
        ] {
            assert_eq!(read(&path), Ok(route), "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for (path, status) in [
            ("/".to_owned(), 404),
            ("/v1/".to_owned(), 404),
            ("/v2/a".to_owned(), 404),
            ("/v2/../../etc/passwd/tags/list".to_owned(), 400),
            ("/v2/%2e%2e/%2e%2e/etc/tags/list".to_owned(), 400),
            ("/v2/a%2F..%2Fb/tags/list".to_owned(), 400),
            ("/v2/a%00/tags/list".to_owned(), 400),
            ("/v2/a%/tags/list".to_owned(), 404),
            ("/v2/a%ff/tags/list".to_owned(), 404),
            ("/v2/a//b/tags/list".to_owned(), 400),
            ("/v2//tags/list".to_owned(), 400),
            ("/v2/A/tags/list".to_owned(), 400),
            ("/v2/a/blobs/sha256:../../../x".to_owned(), 404),
            ("/v2/a/blobs/sha256:..%2F..%2Fx".to_owned(), 404),
            ("/v2/a/blobs/sha256:xyz".to_owned(), 400),
            ("/v2/a/manifests/-".to_owned(), 400),
            (format!("/v2/{}/tags/list", "a".repeat(256)), 400),
            (format!("/v2/{}/tags/list", "a".repeat(4000)), 414),
        ] {
            assert_eq!(read(&path), Err(status), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "/[ -~]{0,80}", query in "[ -~]{0,80}") {
            if let Ok(uri) = Uri::try_from(format!("{path}?{query}")) {
                drop(Route::read(&uri));
                drop(Query::read(&uri).digest("digest"));
            }
        }

        #[test]
        fn what_reads_as_a_name_has_no_dots_to_climb(name in "[a-z./%0-9_-]{0,40}") {
            if let Ok(Route::Tags(repository)) = read(&format!("/v2/{name}/tags/list")) {
                prop_assert!(!repository.as_str().split('/').any(|part| part.starts_with('.')));
            }
        }
    }
}
