//! Manifests: what they are, their push, and their deletion.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body;

use crate::layout::RepositoryPath;
use crate::limits::image::MANIFEST_BYTES_MAX;
use crate::limits::serve::EXCESS_BYTES_MAX;
use crate::oci::{Digest, Identifier, Manifest, MediaType};

use super::answer::{Answer, BodyError, Code, Refusal};
use super::catalog::{Facts, may_be_manifest};
use super::{Children, Registry, is_known};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Registry {
    pub(super) async fn get_manifest(
        &self,
        method: &Method,
        headers: &HeaderMap,
        repository: &RepositoryPath,
        identifier: &Identifier,
    ) -> Result<Answer, Refusal> {
        let digest = match identifier {
            Identifier::Digest(digest) => Some(*digest),
            Identifier::Tag(tag) => self.layout.find(repository, tag).map(|entry| entry.digest),
        };
        let stored = digest.and_then(|digest| {
            let catalog = self.catalog();
            catalog.manifest(repository, &digest).cloned()
        });
        let stored = stored.ok_or_else(|| unknown(repository, identifier))?;
        let answer = |status| {
            Answer::new(status)
                .digest(&stored.digest)
                .header(header::ETAG, format_args!("\"{}\"", stored.digest))
        };
        if is_known(headers, &stored.digest) {
            return Ok(answer(StatusCode::NOT_MODIFIED));
        }
        let answer = answer(StatusCode::OK).header(header::CONTENT_TYPE, &stored.media_type);
        if method == Method::HEAD {
            return Ok(answer.header(header::CONTENT_LENGTH, stored.size));
        }
        let bytes = self
            .layout
            .bytes(&stored.digest, MANIFEST_BYTES_MAX)
            .await?;
        Ok(answer.text(bytes.ok_or_else(|| unknown(repository, identifier))?))
    }

    pub(super) async fn put_manifest<B>(
        &self,
        headers: &HeaderMap,
        repository: &RepositoryPath,
        identifier: &Identifier,
        content: B,
    ) -> Result<Answer, Refusal>
    where
        B: body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map_or_else(|| MediaType::parse(""), MediaType::parse);
        let raw = read_limited(content).await?;
        let manifest = Manifest::parse(raw, &media_type)
            .map_err(|error| Refusal::new(Code::ManifestInvalid, error))?;
        let (manifest, tag) = match identifier {
            Identifier::Tag(tag) => (manifest, Some(tag.clone())),
            Identifier::Digest(digest) => {
                let manifest = manifest.named(*digest).ok_or_else(|| {
                    Refusal::new(
                        Code::DigestInvalid,
                        format_args!("the bytes do not have digest `{digest}`"),
                    )
                })?;
                (manifest, None)
            }
        };
        let facts = Facts::of(&manifest);
        self.check_named(repository, &facts).await?;
        let (digest, subject) = (manifest.digest(), facts.subject());
        let entry = facts.entry(repository, tag);
        self.layout
            .put_blob(&digest, manifest.raw().clone())
            .await?;
        self.catalog().insert(repository, facts);
        self.check_kept(&digest).await?;
        self.layout.put(entry).await?;
        let answer = Answer::new(StatusCode::CREATED)
            .header(
                header::LOCATION,
                format_args!("/v2/{repository}/manifests/{digest}"),
            )
            .digest(&digest);
        Ok(match subject {
            Some(subject) => answer.header(SUBJECT, subject),
            None => answer,
        })
    }

    /// Whether all that a manifest needs is in the repository. Layers that are published elsewhere
    /// may be left there, and a subject may come later or never.
    async fn check_named(&self, repository: &RepositoryPath, facts: &Facts) -> Result<(), Refusal> {
        let mut missing = Vec::new();
        let mut linked = Vec::new();
        {
            let catalog = self.catalog();
            for blob in &facts.blobs {
                let is_elsewhere = blob.media_type.is_foreign_layer() && !blob.urls.is_empty();
                if catalog.has_blob(repository, &blob.digest) {
                    // A manifest that came before may have named it without having it.
                    if !is_elsewhere {
                        linked.push(blob.digest);
                    }
                } else if !is_elsewhere {
                    missing.push(blob.digest);
                }
            }
            for child in &facts.children {
                let is_there = catalog.manifest(repository, &child.digest).is_some()
                    || !may_be_manifest(child) && catalog.has_blob(repository, &child.digest);
                if !is_there && self.children == Children::Required {
                    missing.push(child.digest);
                }
            }
        }
        missing.extend(self.layout.missing(linked).await?);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::missing(&missing))
    }

    pub(super) async fn delete_manifest(
        &self,
        repository: &RepositoryPath,
        identifier: &Identifier,
    ) -> Result<Answer, Refusal> {
        let found = match identifier {
            Identifier::Tag(tag) => self.layout.remove_tag(repository, tag).await?,
            Identifier::Digest(digest) => {
                let known = self.catalog().remove_manifest(repository, digest);
                let listed = self.layout.remove_digest(repository, digest).await?;
                let catalog = self.catalog();
                if known && !catalog.is_held(digest) {
                    self.layout.remove_blob(digest)?;
                }
                known || listed
            }
        };
        if !found {
            return Err(unknown(repository, identifier));
        }
        Ok(Answer::new(StatusCode::ACCEPTED))
    }

    /// Whether something that was just written and linked is still on the disk: a deletion that
    /// came between the two did not know of the link.
    pub(super) async fn check_kept(&self, digest: &Digest) -> Result<(), Refusal> {
        if self.layout.size(digest).await?.is_some() {
            return Ok(());
        }
        Err(Refusal::new(
            Code::Unknown,
            "it was deleted while it was pushed; push it again",
        )
        .status(StatusCode::SERVICE_UNAVAILABLE))
    }
}

fn unknown(repository: &RepositoryPath, identifier: &Identifier) -> Refusal {
    Refusal::new(
        Code::ManifestUnknown,
        format_args!("`{repository}` has no manifest `{identifier}`"),
    )
}

async fn read_limited<B>(content: B) -> Result<Bytes, Refusal>
where
    B: body::Body<Data = Bytes> + Send,
    B::Error: Into<BodyError>,
{
    let mut content = std::pin::pin!(content);
    let mut bytes = BytesMut::new();
    let mut count = 0;
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|_| {
            Refusal::new(Code::ManifestInvalid, "the manifest ended before its end")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        count += data.len();
        if count <= MANIFEST_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if count > EXCESS_BYTES_MAX {
            break;
        }
    }
    if count > MANIFEST_BYTES_MAX {
        return Err(Refusal::new(
            Code::SizeInvalid,
            format_args!("a manifest has at most {MANIFEST_BYTES_MAX} bytes"),
        )
        .status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(bytes.freeze())
}
