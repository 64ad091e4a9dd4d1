//! The verdict on one manifest.

use std::ops::ControlFlow;

use crate::attached::Attached;
use crate::event::{Checked, Evidence, Failure, Format, Role, Verdict};
use crate::oci::{Descriptor, Pinned, Reference};
use crate::policy::SignedIdentity;
use crate::sigstore::Signers;

use super::bounds::{Reasons, printable};
use super::check::{self, Named, Said, Unaccepted, Unfit};
use super::gather::{Hearer, Place, Trouble, gather};
use super::{Demand, Search};

/// How many ways to be accepted a hint names.
const WAYS_SHOWN: usize = 2;

/// A verdict, and what a hint about another manifest needs of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) checked: Checked,
    /// Whether every place answered and none has a signature.
    pub(super) is_bare: bool,
    /// What a signature names that is right but for its identity; the first of them.
    pub(super) valid: Option<Named>,
}

/// Judges one manifest, `named` as it is compared. Never an error: what cannot be asked is
/// undetermined.
///
/// # Cancel safety
///
/// It only reads.
pub async fn judge(
    attached: &Attached,
    subject: &Pinned,
    role: Role,
    named: &Reference,
    demand: &Demand,
) -> Checked {
    judged(attached, subject, role, named, demand).await.checked
}

pub(super) async fn judged(
    attached: &Attached,
    subject: &Pinned,
    role: Role,
    named: &Reference,
    demand: &Demand,
) -> Judged {
    let mut court = Court {
        subject,
        named,
        demand,
        reasons: Reasons::default(),
        signatures: 0,
        others: 0,
        evidence: None,
        trouble: None,
        valid: None,
    };
    gather(attached, subject, demand.search, &mut court).await;
    court.judged(role)
}

/// All signatures of `subject` in `format` that one of `signers` made and that speak of its digest,
/// whatever they name; their identities are compared with nothing.
///
/// What is larger than any signature that is read is passed over: nobody who is meant made it.
///
/// # Errors
///
/// When anything could not be asked: what was not seen may be there.
///
/// # Cancel safety
///
/// It only reads.
pub async fn signatures(
    attached: &Attached,
    subject: &Pinned,
    signers: &Signers,
    format: Format,
) -> Result<Vec<Evidence>, Failure> {
    let mut collection = Collection {
        subject,
        signers,
        found: Vec::new(),
        trouble: None,
    };
    gather(attached, subject, Search::Only(format), &mut collection).await;
    match collection.trouble {
        Some(trouble) => Err(trouble),
        None => Ok(collection.found),
    }
}

/// The flags of `validate` under which a signature with this identity is accepted for a manifest that
/// is compared as `image`.
pub(super) fn ways(demanded: &SignedIdentity, image: &Reference, named: &Named) -> Vec<String> {
    match named {
        Named::Identity(identity) => {
            let mut ways = demanded.alternatives(image, identity);
            ways.truncate(WAYS_SHOWN);
            ways
        }
        Named::Nothing => vec!["--signed-identity digestOnly".to_owned()],
    }
}

/// Hears signatures until one is accepted.
struct Court<'a> {
    subject: &'a Pinned,
    named: &'a Reference,
    demand: &'a Demand,
    reasons: Reasons,
    /// How many signatures were found that are not accepted.
    signatures: usize,
    /// How many layers stand among signatures and are none.
    others: usize,
    evidence: Option<Evidence>,
    trouble: Option<Failure>,
    valid: Option<Named>,
}

impl Court<'_> {
    fn refuse(&mut self, place: Place, reason: &str) {
        let reason = match place {
            // The words of containers/image, as they are.
            Place::Tag => reason.to_owned(),
            Place::Referrer(digest) => format!("referrer {digest}: {reason}"),
        };
        self.reasons.push(&reason);
    }

    fn hear(&mut self, place: Place, said: Said) -> ControlFlow<()> {
        match said.accepted(self.demand, self.named) {
            Ok(evidence) => {
                self.evidence = Some(evidence);
                ControlFlow::Break(())
            }
            Err(Unaccepted::Identity(identity, reason)) => {
                self.valid.get_or_insert(identity);
                self.refuse(place, &reason);
                ControlFlow::Continue(())
            }
            Err(Unaccepted::Annotations(reason)) => {
                self.refuse(place, &reason);
                ControlFlow::Continue(())
            }
        }
    }

    fn unfit(&mut self, place: Place, unfit: Unfit) -> ControlFlow<()> {
        match unfit {
            Unfit::Other(reason) => {
                self.others += 1;
                self.refuse(place, &reason);
            }
            Unfit::Refused(reason) => {
                self.signatures += 1;
                self.refuse(place, &reason);
            }
        }
        ControlFlow::Continue(())
    }

    fn hint(&self) -> Option<String> {
        let valid = self.valid.as_ref()?;
        let ways = ways(&self.demand.identity, self.named, valid);
        let ways: Vec<String> = ways.iter().map(|way| format!("`{way}`")).collect();
        if ways.is_empty() {
            return None;
        }
        let (names, price) = match valid {
            Named::Identity(identity) => (format!("`{identity}`"), ""),
            Named::Nothing => ("no repository".to_owned(), ", and proves the digest alone"),
        };
        let whose = self.demand.signers.whose();
        Some(printable(&format!(
            "{whose} signature is valid and names {names}: {} accepts it{price}",
            ways.join(" or ")
        )))
    }

    fn judged(mut self, role: Role) -> Judged {
        let verdict = match (&self.evidence, &self.trouble) {
            (Some(_), _) => Verdict::Accepted,
            (None, Some(_)) => Verdict::Undetermined,
            (None, None) => Verdict::Rejected,
        };
        let is_accepted = verdict == Verdict::Accepted;
        let is_bare = verdict == Verdict::Rejected && self.signatures == 0;
        if is_bare {
            let none = "A signature was required, but no signature exists";
            let reason = if self.others == 0 {
                none.to_owned()
            } else {
                format!(
                    "{none} (0 non-sigstore signatures, {} sigstore non-signature attachments)",
                    self.others
                )
            };
            self.reasons.begin_with(&reason);
        }
        let hint = if is_accepted { None } else { self.hint() };
        Judged {
            is_bare,
            valid: self.valid,
            checked: Checked {
                digest: self.subject.digest,
                role,
                verdict,
                evidence: self.evidence,
                reasons: self.reasons.finish(),
                trouble: self.trouble.filter(|_| !is_accepted),
                hint,
            },
        }
    }
}

impl Hearer for Court<'_> {
    fn simple(
        &mut self,
        place: Place,
        layer: &Descriptor,
        signature: &str,
        payload: &[u8],
    ) -> ControlFlow<()> {
        let format = format_in(place);
        match check::simple(
            &self.subject.digest,
            &self.demand.signers,
            format,
            (layer, signature, payload),
        ) {
            Ok(said) => {
                self.signatures += 1;
                self.hear(place, said)
            }
            Err(unfit) => self.unfit(place, unfit),
        }
    }

    fn bundle(&mut self, place: Place, bytes: &[u8]) -> ControlFlow<()> {
        match check::bundle(&self.subject.digest, &self.demand.signers, bytes) {
            Ok(all) => {
                self.signatures += 1;
                for said in all {
                    self.hear(place, said)?;
                }
                ControlFlow::Continue(())
            }
            Err(unfit) => self.unfit(place, unfit),
        }
    }

    fn unfit(&mut self, place: Place, reason: &str) {
        self.signatures += 1;
        self.refuse(place, reason);
    }

    fn other(&mut self, place: Place, reason: Option<&str>) {
        self.others += usize::from(matches!(place, Place::Tag));
        if let Some(reason) = reason {
            self.refuse(place, reason);
        }
    }

    fn trouble(&mut self, _place: Place, trouble: Trouble) {
        let (Trouble::Asking(failure) | Trouble::Size(failure)) = trouble;
        self.reasons.push(&failure.causes.join(": "));
        self.trouble.get_or_insert(failure);
    }
}

/// Hears all signatures and keeps those by who is meant.
struct Collection<'a> {
    subject: &'a Pinned,
    signers: &'a Signers,
    found: Vec<Evidence>,
    trouble: Option<Failure>,
}

impl Hearer for Collection<'_> {
    fn simple(
        &mut self,
        place: Place,
        layer: &Descriptor,
        signature: &str,
        payload: &[u8],
    ) -> ControlFlow<()> {
        let format = format_in(place);
        let heard = (layer, signature, payload);
        let said = check::simple(&self.subject.digest, self.signers, format, heard);
        self.found
            .extend(said.ok().map(|said| said.evidence(false)));
        ControlFlow::Continue(())
    }

    fn bundle(&mut self, _place: Place, bytes: &[u8]) -> ControlFlow<()> {
        let said = check::bundle(&self.subject.digest, self.signers, bytes).unwrap_or_default();
        let evidence = said.into_iter().map(|said| said.evidence(false));
        self.found.extend(evidence);
        ControlFlow::Continue(())
    }

    fn unfit(&mut self, _place: Place, _reason: &str) {}

    fn other(&mut self, _place: Place, _reason: Option<&str>) {}

    fn trouble(&mut self, _place: Place, trouble: Trouble) {
        match trouble {
            Trouble::Asking(failure) => {
                self.trouble.get_or_insert(failure);
            }
            Trouble::Size(_) => {}
        }
    }
}

const fn format_in(place: Place) -> Format {
    match place {
        Place::Tag => Format::Tag,
        Place::Referrer(_) => Format::Referrer,
    }
}
