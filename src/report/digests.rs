//! What was mirrored, as a list of images by digest.

use std::path::Path;
use std::sync::Arc;

use super::output::{Output, Sync};
use super::{Error, Reporter};
use crate::event::{Event, Outcome};
use crate::oci::{Digest, Reference};
use crate::plan::Plan;

/// Writes `DESTINATION:TAG@DIGEST` for each image that stands at its destination as asked, in list
/// order, when the run ends, however it ends.
///
/// Tags that were kept with another digest are not in it, and duplicates only once. It is a valid
/// list.
#[derive(Debug)]
pub struct Digests {
    output: Output,
    plan: Arc<Plan>,
    found: Vec<Option<Digest>>,
}

impl Digests {
    /// A list at `path`, which is written when the run ends. A file that is there is replaced then.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn create(path: &Path, plan: &Arc<Plan>) -> Result<Self, Error> {
        Ok(Self {
            output: Output::open("list of digests", path)?,
            plan: Arc::clone(plan),
            found: vec![None; plan.jobs().len()],
        })
    }
}

impl Reporter for Digests {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::Finished {
                job,
                outcome,
                elapsed: _,
            } => {
                let digest = match outcome {
                    Outcome::Copied(copied) | Outcome::UpToDate(copied) => {
                        Some(copied.image.digest)
                    }
                    Outcome::Kept(_)
                    | Outcome::Signed(_)
                    | Outcome::AlreadySigned(_)
                    | Outcome::Accepted(_)
                    | Outcome::NotVerified
                    | Outcome::NotSigned
                    | Outcome::Rejected(..)
                    | Outcome::Undetermined(..)
                    | Outcome::Duplicate { .. }
                    | Outcome::Failed(_)
                    | Outcome::NotTried(_) => None,
                };
                if let Some(slot) = self.found.get_mut(job.position()) {
                    *slot = digest;
                }
                Ok(())
            }
            Event::Ended { .. } => {
                let (plan, found) = (&self.plan, &self.found);
                self.output.write(Sync::Now, |out| {
                    for (job, digest) in plan.jobs().iter().zip(found) {
                        if let Some(digest) = digest {
                            let image = Reference {
                                digest: Some(*digest),
                                ..job.destination.clone()
                            };
                            writeln!(out, "{image}")?;
                        }
                    }
                    Ok(())
                })
            }
            Event::Began { .. }
            | Event::Started { .. }
            | Event::Noted { .. }
            | Event::Paused(_) => Ok(()),
        }
    }
}
