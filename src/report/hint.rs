//! What a person could do about a failure.

use std::time::SystemTime;

use crate::event::{Detail, Failure, Kind, Side, Stage};
use crate::oci::{Reference, Registry, Repository};
use crate::plan::Job;

/// A sentence that says what to do about `failure` of `job`, where that is known; no full stop.
///
/// It follows from the kind, the stage and the side, never from the words of an error.
pub fn hint(job: &Job, failure: &Failure) -> Option<String> {
    let at = Place::of(job, failure);
    if let Some(hint) = of_detail(at.registry, at.path(), failure.detail) {
        return Some(hint);
    }
    match failure.kind {
        Kind::NotFound if job.is_in_place() => Some(format!(
            "see whether `{}` is written as its registry writes it (a name without a registry means \
             `docker.io`), and has the platforms that were asked for",
            job.destination
        )),
        Kind::NotFound => not_found(&at, failure.stage),
        Kind::Unauthorized => Some(unauthorized(&at)),
        Kind::RateLimited => Some(throttled(&at, failure.again)),
        Kind::Network => Some(format!(
            "see whether {} can be reached from here, proxy and certificates too, and run what is \
             left again",
            at.registry()
        )),
        Kind::Timeout => Some(
            "`--stall-timeout` says how long a transfer may stand still, and `--timeout` how long an \
             image may take"
                .to_owned(),
        ),
        Kind::Integrity => Some(match failure.side {
            Some(Side::Source) => format!(
                "the source is corrupt, or something between changes bytes: compare with another \
                 copy of `{}`",
                job.source
            ),
            Some(Side::Destination) | None => format!(
                "something between here and {} changes bytes, or its storage does",
                at.registry()
            ),
        }),
        Kind::Conflict => Some(conflict(failure.stage)),
        Kind::Unsupported if failure.stage == Stage::Verify && job.is_in_place() => None,
        Kind::Unsupported if failure.stage == Stage::Verify => Some(
            "correct the policy, or its key; `--insecure-policy` honours none, if that is what you want"
                .to_owned(),
        ),
        Kind::Unsupported if failure.stage == Stage::Plan => Some(
            "a template asks for what this line does not have: give the line a tag, or take the \
             placeholder out"
                .to_owned(),
        ),
        Kind::Unsupported if failure.stage == Stage::Sign => None,
        Kind::Unsupported => Some(
            "it cannot be copied without changing it: build or push it again as OCI or Docker \
             schema 2, or take the line out"
                .to_owned(),
        ),
        Kind::Refused if job.is_in_place() => Some(format!(
            "quota, immutable tags and rules of `{}` can be why",
            job.destination.repository.registry()
        )),
        Kind::Refused => refused(&at),
        Kind::Cancelled => Some("run what is left again".to_owned()),
        Kind::Internal => {
            Some("this is a bug of consign, and worth a report; the other lines went on".to_owned())
        }
        // A verdict says itself what would have been accepted.
        Kind::Rejected => None,
    }
}

/// What to do about a failure to ask for `repository`, where more than its kind is known.
pub fn hint_at(repository: &Repository, failure: &Failure) -> Option<String> {
    of_detail(repository.registry(), repository.path(), failure.detail)
}

/// What to do about what is known more exactly than by its kind.
fn of_detail(host: &Registry, path: &str, detail: Detail) -> Option<String> {
    let registry = format!("`{host}`");
    Some(match detail {
        Detail::None => return None,
        Detail::Immutable => format!(
            "{registry} lets nobody move this tag: give the line another tag, or go on with what is there by \
             `--on-existing keep`"
        ),
        Detail::Credential => format!(
            "log in to {registry} anew; `consign auth explain {host}` says where its credential comes from"
        ),
        Detail::Certificate => format!(
            "give the authority of {registry} with `--ca-file FILE`, or as `ca.crt` in \
             `~/.config/containers/certs.d/{host}/`"
        ),
        Detail::CertificateTime => format!(
            "whoever runs {registry} has to renew its certificate, if this machine's clock is right"
        ),
        Detail::CertificateName => format!(
            "write {registry} as its certificate names it, or have the name put into the certificate"
        ),
        Detail::ClientCertificate => format!(
            "put the client certificate for {registry} and its key into \
             `~/.config/containers/certs.d/{host}/` as `client.cert` and `client.key`"
        ),
        Detail::OwnCertificates => {
            format!("correct the files here: {registry} was not asked")
        }
        Detail::NoTls => "`--tls-verify=false` takes plain HTTP too, for one side of a copy \
             `--src-tls-verify=false` or `--dest-tls-verify=false`: whoever is on the way reads and changes all"
            .to_owned(),
        Detail::Proxy => format!(
            "see `HTTPS_PROXY` and `HTTP_PROXY`; hosts in `NO_PROXY` are reached without a proxy, {registry} \
             too if it is there"
        ),
        Detail::Project => format!(
            "make the project of `{path}` at {registry} first; `--create-projects` makes it where {registry} is a \
             Harbor"
        ),
        Detail::Quota => format!(
            "give the project of `{path}` at {registry} a higher quota, or delete from it what nobody needs, and \
             run what is left again"
        ),
        Detail::IdentityToken => "get a new identity token (its audience must be the one that the certificate \
             authority knows, `sigstore` as a rule), and run what is left again"
            .to_owned(),
        Detail::SigningService => "see whether the signing services can be reached from here, and whether \
             `--fulcio-url`, `--rekor-url`, `--tsa-url` and the trusted root are of one instance; run what is left \
             again"
            .to_owned(),
        Detail::Blocked => {
            "take `blocked` out of the host's `registries.conf`, or another source".to_owned()
        }
    })
}

fn throttled(at: &Place<'_>, again: Option<SystemTime>) -> String {
    let registry = at.registry();
    match again {
        Some(again) => format!(
            "{registry} throttles until {}: log in to it for a higher limit, and run what is left then",
            humantime::format_rfc3339_seconds(again)
        ),
        None => format!(
            "{registry} throttles: log in to it for a higher limit, or lower `--jobs`, and run what is left \
             later"
        ),
    }
}

/// The side of a job that a failure speaks of.
struct Place<'a> {
    side: Option<Side>,
    /// Whether there is one side alone.
    is_only: bool,
    reference: &'a Reference,
    /// The registry that was asked: a mirror, or the one of the line.
    registry: &'a Registry,
}

impl<'a> Place<'a> {
    fn of(job: &'a Job, failure: &'a Failure) -> Self {
        let side = failure.side;
        let reference = match side {
            Some(Side::Destination) => &job.destination,
            Some(Side::Source) | None => &job.source,
        };
        let own = reference.repository.registry();
        Self {
            side,
            is_only: job.is_in_place(),
            reference,
            registry: failure.at.as_ref().unwrap_or(own),
        }
    }

    fn registry(&self) -> String {
        if self.side.is_some() || self.is_only {
            format!("`{}`", self.registry)
        } else {
            "the registry".to_owned()
        }
    }

    fn path(&self) -> &str {
        self.reference.repository.path()
    }
}

fn not_found(at: &Place<'_>, stage: Stage) -> Option<String> {
    match (at.side, stage) {
        (Some(Side::Destination), _) => Some(format!(
            "make the project of `{}` at {} first; not every registry makes it when something is \
             pushed",
            at.path(),
            at.registry()
        )),
        (Some(Side::Source), Stage::Preflight | Stage::Resolve) => Some(format!(
            "see whether `{}` is written as its registry writes it (a name without a registry means \
             `docker.io`), and has the platforms that were asked for",
            at.reference
        )),
        (Some(Side::Source), Stage::Transfer) => Some(
            "the source names something that it does not have: it is incomplete, or was deleted \
             meanwhile"
                .to_owned(),
        ),
        (Some(Side::Source), Stage::Plan | Stage::Sign | Stage::Verify | Stage::Run)
        | (None, _) => None,
    }
}

fn unauthorized(at: &Place<'_>) -> String {
    let rights = match at.side {
        Some(Side::Destination) => "push",
        Some(Side::Source) | None => "pull",
    };
    format!(
        "log in to {} with {rights} rights to `{}`; some registries also say this of what does not \
         exist",
        at.registry(),
        at.path()
    )
}

fn conflict(stage: Stage) -> String {
    match stage {
        Stage::Plan => {
            "only one of the lines can have this destination: take the others out, or give them \
             another tag"
        }
        Stage::Preflight
        | Stage::Resolve
        | Stage::Transfer
        | Stage::Sign
        | Stage::Verify
        | Stage::Run => {
            "`--on-existing replace` moves a tag that exists, and `--overwrite` also where that \
             takes platforms away"
        }
    }
    .to_owned()
}

fn refused(at: &Place<'_>) -> Option<String> {
    match at.side {
        Some(Side::Destination) => Some(format!(
            "quota, immutable tags and rules of {} can be why; one that looks for every child of an \
             index refuses `--index sparse`: use `--index rewrite`",
            at.registry()
        )),
        Some(Side::Source) | None => None,
    }
}
