//! Gathering one image's signatures and judging them, by keys or by certificates.
//!
//! Three verdicts, never two. Only an answer leads to "rejected": a place that could not be asked, or
//! that holds more than is read, makes the verdict "undetermined", unless a signature in another place
//! passes everything. All places are searched, cheapest first: cosign's `.sig` tag (one request for the
//! manifest, one for each payload until one is accepted), then the referrers, each opened and
//! recognised by what it holds, since registries and tools disagree about artifact types.
//!
//! What is trusted: bytes that fit their digests, and what somebody signed who may
//! ([`crate::sigstore::Signers`]). Everything else, annotations and hints and lists, only says where to look.

mod bounds;
mod check;
mod choose;
mod gather;
mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

pub use choose::{Chosen, Subjects, choose};
pub use judge::{judge, signatures};

use crate::attached::Attached;
use crate::event::{Failure, Format, Kind, Role, Stage, Validation, Verdict};
use crate::oci::{Digest, Manifest, Pinned, PlatformSelection, Reference, Repository, Tag};
use crate::pace::Pace;
use crate::policy::SignedIdentity;
use crate::registry::Access;
use crate::sigstore::Signers;
use crate::transfer::kind_of;

use bounds::failed;
use check::Named;
use judge::{Judged, judged};

/// How many manifests of one image are judged at once. The lanes of the registry bound the requests
/// of all images together.
const JUDGED_AT_ONCE: usize = 16;

/// What a signature must be to be accepted.
#[derive(Debug, Clone)]
pub struct Demand {
    /// One of these must have made it.
    pub signers: Arc<Signers>,
    /// The identity it must name.
    pub identity: SignedIdentity,
    /// Annotations it must have, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// Where it may be found.
    pub search: Search,
}

/// Where signatures are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// In all places and formats.
    Everywhere,
    /// In one format alone: `policy.json` is read as podman reads it, which knows the tags alone.
    Only(Format),
}

/// Which reference a manifest is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Children by digest (with `matchExact` by the tag, where the image is named by one), a root as
    /// it is named: by its digest where there is one, else by its tag.
    ByWhatItIs,
    /// Every manifest by the name that was asked for, as podman and skopeo do; where that has a tag
    /// and a digest, the digest counts.
    AsAsked,
}

/// What is asked of one image.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The image; its digest counts where it has one.
    pub image: &'a Reference,
    /// Where it and its signatures are asked for, if not in the repository that it is named by: a mirror,
    /// which has no say in what the image is called.
    pub place: Option<&'a Repository>,
    /// Which of its manifests are meant.
    pub subjects: Subjects,
    /// Which of its platforms are.
    pub selection: &'a PlatformSelection,
    /// As what they are compared.
    pub compared: Compared,
    /// What their signatures must be.
    pub demand: &'a Demand,
}

/// Validates an image: resolves it once, chooses, judges each manifest that is meant.
///
/// Costs one request for the image, one more for the config of a single image of which only some
/// platforms are meant, and at most two for each manifest whose first signature under the `.sig` tag
/// is accepted. Where every manifest was rejected for want of any signature, the index is looked at
/// once more, for the hint.
///
/// # Errors
///
/// What kept it from asking for the image or its platforms at all, and [`Kind::NotFound`] where the
/// image or all wanted platforms are missing.
///
/// # Cancel safety
///
/// It only reads.
pub async fn validate(
    attached: &Attached,
    question: &Question<'_>,
    pace: &Pace,
) -> Result<Validation, Failure> {
    let _work = pace.work();
    let attached = &attached.recalling();
    let image = question.image;
    let pulled = attached
        .client()
        .pull_manifest(&image.repository, &image.identifier(), Access::Pull)
        .await;
    let root = pulled.map_err(|error| {
        let what = format!("cannot resolve `{image}`");
        failed(what, kind_of(&error.kind), &error)
    })?;
    judge_all(attached, question, &root).await
}

/// Validates exactly `root`, which is what the image of `question` was resolved to.
///
/// # Errors
///
/// As [`validate`]; [`Kind::Internal`] when the image names another digest than that of `root`.
///
/// # Cancel safety
///
/// It only reads.
pub async fn validate_resolved(
    attached: &Attached,
    question: &Question<'_>,
    root: &Manifest,
    pace: &Pace,
) -> Result<Validation, Failure> {
    let _work = pace.work();
    if question
        .image
        .digest
        .is_some_and(|named| named != root.digest())
    {
        let cause = format!("`{}` was resolved to `{}`", question.image, root.digest());
        return Err(Failure::because(
            Stage::Verify,
            None,
            Kind::Internal,
            &cause,
        ));
    }
    judge_all(&attached.recalling(), question, root).await
}

async fn judge_all(
    attached: &Attached,
    question: &Question<'_>,
    root: &Manifest,
) -> Result<Validation, Failure> {
    let place = question.place.unwrap_or(&question.image.repository);
    let pinned = |digest| Pinned {
        repository: place.clone(),
        digest,
    };
    let image = pinned(root.digest());
    let (subjects, selection) = (question.subjects, question.selection);
    let chosen = choose(attached, &image, root, subjects, selection).await?;
    let judging = chosen.manifests.into_iter().map(|(manifest, role)| {
        let named = question.named(&manifest.digest, root.digest());
        let subject = pinned(manifest.digest);
        async move { judged(attached, &subject, role, &named, question.demand).await }
    });
    let mut all: Vec<Judged> = stream::iter(judging)
        .buffered(JUDGED_AT_ONCE)
        .collect()
        .await;
    let is_bare = |judged: &Judged| {
        judged.checked.verdict == Verdict::Rejected
            && judged.is_bare
            && judged.checked.role != Role::Index
    };
    if root.as_index().is_some()
        && !all.is_empty()
        && all.iter().all(is_bare)
        && let Some(hint) = index_hint(attached, question, &image).await
    {
        for judged in &mut all {
            judged.checked.hint = Some(hint.clone());
        }
    }
    Ok(Validation {
        image,
        checked: all.into_iter().map(|judged| judged.checked).collect(),
        unchecked: chosen.unchecked,
        absent: chosen.absent,
    })
}

/// What to ask for where no child of an index is signed and the index is.
async fn index_hint(
    attached: &Attached,
    question: &Question<'_>,
    index: &Pinned,
) -> Option<String> {
    let compared = question.named(&index.digest, index.digest);
    let judged = judged(attached, index, Role::Index, &compared, question.demand).await;
    if judged.checked.verdict == Verdict::Accepted {
        return Some("the index is signed, and would be accepted: see --subjects index".to_owned());
    }
    let valid = judged.valid?;
    let mut see = vec!["--subjects index".to_owned()];
    see.extend(judge::ways(&question.demand.identity, &compared, &valid));
    let names = match &valid {
        Named::Nothing => "no repository".to_owned(),
        Named::Identity(identity) => {
            let is_bare = identity
                .parse::<Reference>()
                .is_ok_and(|named| named.tag.is_none() && named.digest.is_none());
            format!(
                "`{identity}`{}",
                if is_bare { " without a tag" } else { "" }
            )
        }
    };
    let whose = question.demand.signers.whose();
    let hint = format!(
        "{whose} signature is valid for the index and names {names}: see {}",
        see.join(", ")
    );
    Some(bounds::printable(&hint))
}

impl Question<'_> {
    /// As what the manifest `digest` of the image whose root is `root` is compared.
    fn named(&self, digest: &Digest, root: Digest) -> Reference {
        let by_digest = |digest| Reference {
            repository: self.image.repository.clone(),
            tag: None,
            digest: Some(digest),
        };
        let by_tag = || Reference {
            repository: self.image.repository.clone(),
            tag: Some(self.image.tag.clone().unwrap_or_else(Tag::latest)),
            digest: None,
        };
        let is_root = *digest == root;
        match self.compared {
            Compared::AsAsked => self.image.digest.map_or_else(by_tag, by_digest),
            Compared::ByWhatItIs if self.image.digest.is_some() => by_digest(*digest),
            Compared::ByWhatItIs
                if is_root || self.demand.identity == SignedIdentity::MatchExact =>
            {
                by_tag()
            }
            Compared::ByWhatItIs => by_digest(*digest),
        }
    }
}

#[cfg(test)]
mod tests;
