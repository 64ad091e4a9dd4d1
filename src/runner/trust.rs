//! What is asked of signatures, for all jobs of a run; and what that means for one of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::{Failure, Kind, Outcome, Side, Stage, Validation, Verdict};
use crate::list;
use crate::oci::{Digest, PlatformSelection};
use crate::plan::Job;
use crate::policy::SignedIdentity;
use crate::sigstore::Signers;
use crate::template::{Template, Values};
use crate::verify::{Demand, Search, Subjects};

/// The identity that signatures must name.
#[derive(Debug, Clone)]
pub enum Identity {
    /// The same rule for every image.
    Rule(SignedIdentity),
    /// `exactRepository`, of a repository that follows from the image's own name.
    ExactRepository(Template),
}

/// What signatures of a run's images must be.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Who must have made them, where the line does not say it; `None`: nobody then.
    pub signers: Option<Arc<Signers>>,
    /// Who must have made them, where the line says it.
    pub own: HashMap<list::Verify, Arc<Signers>>,
    /// The identity they must name. Without it, [`SignedIdentity::MatchRepoDigestOrExact`] for keys, and
    /// [`SignedIdentity::MatchRepository`] for certificates and for lines that say themselves who must have
    /// signed: those who sign in pipelines sign digests, and cosign names repositories alone.
    pub identity: Option<Identity>,
    /// Annotations they must have.
    pub annotations: BTreeMap<String, Template>,
    /// Which manifests of an image are checked; without it its platforms, or for lines that say themselves
    /// who must have signed what the tag means, as nerdctl has it.
    pub subjects: Option<Subjects>,
    /// Of which platforms, where the line does not say it.
    pub selection: PlatformSelection,
}

/// What is demanded of one image.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) demand: Demand,
    pub(super) subjects: Subjects,
}

impl Trust {
    /// Whether anything is demanded of the signatures of the source of `job`.
    pub(super) const fn asks(&self, job: &Job) -> bool {
        self.signers.is_some()
            || matches!(
                job.settings.verify,
                Some(list::Verify::Key(_) | list::Verify::Certificate(_))
            )
    }

    /// What is demanded of the signatures of the source of `job`; `None` where nothing is.
    ///
    /// # Errors
    ///
    /// When a template asks for what the image does not have, or makes no name.
    pub(super) fn asked(&self, job: &Job) -> Result<Option<Asked>, Failure> {
        let verify = job.settings.verify.as_ref();
        let (signers, usual) = match verify {
            None | Some(list::Verify::None) => match &self.signers {
                Some(signers) => (signers, Subjects::Platforms),
                None => return Ok(None),
            },
            Some(verify @ (list::Verify::Key(_) | list::Verify::Certificate(_))) => {
                let Some(signers) = self.own.get(verify) else {
                    let cause = format!("`{}`: who must have signed it was not read", job.source);
                    let kind = Kind::Internal;
                    return Err(Failure::because(Stage::Plan, None, kind, &cause));
                };
                (signers, Subjects::Index)
            }
        };
        let is_own = usual == Subjects::Index;
        Ok(Some(Asked {
            demand: self.demand(job, signers, is_own)?,
            subjects: self.subjects.unwrap_or(usual),
        }))
    }

    fn demand(&self, job: &Job, signers: &Arc<Signers>, is_own: bool) -> Result<Demand, Failure> {
        let fail = |what: &str, why: &dyn std::fmt::Display| {
            let cause = format!("{what} makes nothing for `{}`: {why}", job.source);
            Failure::because(Stage::Plan, Some(Side::Source), Kind::Unsupported, &cause)
        };
        let values = values(job, &job.source, job.source.digest.as_ref());
        let identity = match &self.identity {
            Some(Identity::Rule(rule)) => rule.clone(),
            Some(Identity::ExactRepository(template)) => {
                let text = template
                    .render(&values)
                    .map_err(|why| fail("`--exact-repository`", &why))?;
                SignedIdentity::exact_repository(&text)
                    .map_err(|why| fail("`--exact-repository`", &why))?
            }
            None if is_own || signers.by_certificate() => SignedIdentity::MatchRepository,
            None => SignedIdentity::MatchRepoDigestOrExact,
        };
        let mut annotations = BTreeMap::new();
        for (name, template) in &self.annotations {
            let value = template
                .render(&values)
                .map_err(|why| fail(&format!("the annotation `{name}`"), &why))?;
            annotations.insert(name.clone(), value);
        }
        Ok(Demand {
            signers: Arc::clone(signers),
            identity,
            annotations,
            search: Search::Everywhere,
        })
    }
}

/// What templates mean for `job`, whose image is named by `image`.
pub(super) fn values<'a>(
    job: &'a Job,
    image: &'a crate::oci::Reference,
    digest: Option<&'a Digest>,
) -> Values<'a> {
    Values {
        repository: &image.repository,
        tag: image.tag.as_ref(),
        digest,
        source: &job.origin,
    }
}

/// Who demanded what was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// The command line.
    Caller,
    /// The host's policy.
    Policy,
}

/// The outcome that a validation is: `None` where all was accepted.
pub(super) fn refusal(
    validation: &Validation,
    side: Option<Side>,
    judge: Judge,
) -> Option<Outcome> {
    let mut validation = validation.clone();
    let by = match judge {
        Judge::Caller => "",
        Judge::Policy => {
            // They name flags, which have no say in what a policy demands.
            for checked in &mut validation.checked {
                checked.hint = None;
            }
            " by the policy"
        }
    };
    let validation = &validation;
    let count = |verdict| {
        let has = validation
            .checked
            .iter()
            .filter(|one| one.verdict == verdict);
        has.count()
    };
    let all = validation.checked.len();
    let (rejected, undetermined) = (count(Verdict::Rejected), count(Verdict::Undetermined));
    if rejected > 0 {
        let head = format!("{rejected} of {all} manifests rejected{by}");
        let reasons = reasons(validation, Verdict::Rejected);
        let causes = std::iter::once(head).chain(reasons);
        let failure = Failure::chain(Stage::Verify, side, Kind::Rejected, causes);
        return Some(Outcome::Rejected(
            failure,
            Some(Box::new(validation.clone())),
        ));
    }
    // Nothing that was checked is nothing that was proven.
    if undetermined == 0 && all > 0 {
        return None;
    }
    let trouble = validation
        .checked
        .iter()
        .find_map(|checked| checked.trouble.as_ref());
    let kind = trouble.map_or(Kind::Internal, |trouble| trouble.kind);
    let head = format!("{undetermined} of {all} manifests could not be judged");
    let causes = trouble.map_or(&[][..], |trouble| &trouble.causes);
    let causes = std::iter::once(head).chain(causes.iter().cloned());
    let failure = Failure::chain(Stage::Verify, side, kind, causes);
    Some(Outcome::Undetermined(
        failure,
        Some(Box::new(validation.clone())),
    ))
}

/// The first reasons of each manifest with `verdict`, without repeating one.
fn reasons(validation: &Validation, verdict: Verdict) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for checked in validation
        .checked
        .iter()
        .filter(|one| one.verdict == verdict)
    {
        for reason in &checked.reasons {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Checked, End, Ledger, Role};
    use crate::oci::{Pinned, Reference};
    use crate::plan::JobId;

    fn validation(verdicts: &[Verdict]) -> Validation {
        let image: Reference = "a.example/app:1".parse().unwrap();
        let checked = |verdict: &Verdict| Checked {
            digest: Digest::sha256(b"x"),
            role: Role::Platform(None),
            verdict: *verdict,
            evidence: None,
            reasons: vec![format!("because it is {}", verdict.as_str())],
            trouble: (*verdict == Verdict::Undetermined).then(|| {
                Failure::because(Stage::Verify, None, Kind::Unauthorized, "who asks may not")
            }),
            hint: None,
        };
        Validation {
            image: Pinned {
                repository: image.repository,
                digest: Digest::sha256(b"y"),
            },
            checked: verdicts.iter().map(checked).collect(),
            unchecked: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// The word of the outcome, and the exit code of a run with it alone.
    fn ended(verdicts: &[Verdict]) -> Option<(&'static str, u8)> {
        let outcome = refusal(&validation(verdicts), None, Judge::Caller)?;
        let mut ledger = Ledger::new(1, 0);
        ledger.finish(JobId::new(0), &outcome).unwrap();
        Some((outcome.as_str(), ledger.summary().exit_code(End::Completed)))
    }

    #[test]
    fn one_manifest_that_is_not_accepted_is_enough() {
        use Verdict::{Accepted, Rejected, Undetermined};
        assert_eq!(ended(&[Accepted, Accepted]), None);
        assert_eq!(ended(&[Accepted, Rejected]), Some(("rejected", 3)));
        let undetermined = Some(("undetermined", 4));
        assert_eq!(ended(&[Accepted, Undetermined]), undetermined);
        assert_eq!(ended(&[Undetermined, Rejected]), Some(("rejected", 3)));
    }

    #[test]
    fn nothing_that_was_checked_is_nothing_that_was_proven() {
        assert_eq!(ended(&[]), Some(("undetermined", 4)));
    }

    #[test]
    fn a_rejection_sums_up_the_reasons_of_what_was_rejected() {
        let all = [Verdict::Rejected, Verdict::Undetermined, Verdict::Rejected];
        let outcome = refusal(&validation(&all), None, Judge::Policy).unwrap();
        let causes = &outcome.failure().unwrap().causes;
        assert_eq!(
            **causes,
            [
                "2 of 3 manifests rejected by the policy",
                "because it is rejected"
            ]
        );
    }
}
