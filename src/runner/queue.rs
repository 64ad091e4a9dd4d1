//! Jobs that wait for another one: several sources that mean one image for one destination.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::event::Outcome;
use crate::plan::JobId;

/// Jobs held back, and those whose turn has come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Who waits for whom, in order.
    waiting: HashMap<JobId, VecDeque<JobId>>,
    /// All that ever waited.
    held: HashSet<JobId>,
    ready: VecDeque<JobId>,
}

impl Queue {
    /// All but the first of `group` wait for the first.
    pub(super) fn hold(&mut self, group: Vec<JobId>) {
        let mut group = VecDeque::from(group);
        if let Some(first) = group.pop_front() {
            self.held.extend(&group);
            self.waiting.insert(first, group);
        }
    }

    /// Whether `job` waits for another one, or did: then it gets its turn here and nowhere else.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.held.contains(&job)
    }

    /// A job whose turn has come.
    pub(super) fn next(&mut self) -> Option<JobId> {
        self.ready.pop_front()
    }

    /// `job` has ended: those that waited for it and need not run, if it ended well. Otherwise the
    /// next of them gets its turn, from its own source, and the rest waits for that.
    pub(super) fn release(&mut self, job: JobId, outcome: &Outcome) -> VecDeque<JobId> {
        let Some(mut group) = self.waiting.remove(&job) else {
            return VecDeque::new();
        };
        if outcome.failure().is_none() {
            return group;
        }
        if let Some(next) = group.pop_front() {
            self.ready.push_back(next);
            self.waiting.insert(next, group);
        }
        VecDeque::new()
    }
}
