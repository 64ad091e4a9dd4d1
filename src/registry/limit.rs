//! How many requests a registry gets at once: limits that adapt, one for each kind of request.
//!
//! Additive increase, multiplicative decrease: one more after each round without complaint, half
//! after a 429 or 503. A `Retry-After` closes the lane until then. Only this registry's, and only that of
//! the kind of request that was complained of: registries count their APIs apart (Docker Hub its manifests,
//! ACR its lists of referrers, ECR every action; ocync #54, retagger #1227), and a list that is throttled
//! must not hold up the images whose lists are not wanted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Small requests at once, of all kinds together: at 20 ms away, 64 images with 64 requests were twice as
/// fast as 16 with 8, and no slower on loopback (measured with a probe against distribution 2.8).
const SMALL_MAX: usize = 64;
/// Large transfers at once: beyond 8 nothing is gained on 2 cores, and each takes some 0.7 MB (same).
const LARGE_MAX: usize = 8;

/// What a registry may count apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Manifests, and whatever else is no blob and no list.
    Manifests,
    /// Questions for blobs, sessions for them, and blobs that latency bounds.
    Blobs,
    /// Blobs that bandwidth bounds; they are counted with no others.
    Large,
    /// Tags and referrers, page by page.
    Lists,
}

impl Kind {
    /// The kind of a request for `path` below `/v2/`.
    pub(super) fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or(path);
        // Names of repositories may have these parts too, so only what stands where the API has it counts.
        let mut parts = path.rsplit('/');
        let (last, second, third) = (parts.next(), parts.next(), parts.next());
        match (third, second, last) {
            (_, Some("referrers"), Some(_)) | (_, Some("tags"), Some("list")) => Self::Lists,
            (_, Some("blobs"), Some(_)) | (Some("blobs"), Some("uploads"), Some(_)) => Self::Blobs,
            _ => Self::Manifests,
        }
    }
}

/// The requests to one registry that may be under way at once.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    lanes: [Lane; 4],
    // Of all kinds but the large ones.
    small: usize,
}

#[derive(Debug)]
struct Lane {
    max: usize,
    limit: usize,
    used: usize,
    // Successes since the limit last moved.
    round: usize,
    closed_until: Option<Instant>,
}

/// A place behind a [`Gate`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    kind: Kind,
}

/// What a question for a place brings.
enum Claim {
    Taken(Permit),
    Closed(Instant),
    Full,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(SMALL_MAX, LARGE_MAX)
    }
}

impl Gate {
    /// `small` requests at once, and `large` transfers beside them; at least one of each.
    fn new(small: usize, large: usize) -> Self {
        let lane = |max: usize| Lane {
            max,
            limit: max,
            used: 0,
            round: 0,
            closed_until: None,
        };
        let (small, large) = (small.max(1), large.max(1));
        Self {
            state: Mutex::new(State {
                lanes: [lane(small), lane(small), lane(small), lane(large)],
                small: 0,
            }),
            freed: Notify::new(),
        }
    }

    /// Waits for a place.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call gives up the place in the queue and nothing else.
    pub(super) async fn permit(self: &Arc<Self>, kind: Kind) -> Permit {
        loop {
            // Made before the state is looked at, so that no change in between is missed; all who
            // wait are woken, so that none takes a wake-up with it when its job ends.
            let freed = self.freed.notified();
            match self.claim(kind) {
                Claim::Taken(permit) => return permit,
                Claim::Closed(until) => tokio::time::sleep_until(until).await,
                Claim::Full => freed.await,
            }
        }
    }

    /// A place, if there is one now.
    pub(super) fn try_permit(self: &Arc<Self>, kind: Kind) -> Option<Permit> {
        match self.claim(kind) {
            Claim::Taken(permit) => Some(permit),
            Claim::Closed(_) | Claim::Full => None,
        }
    }

    fn claim(self: &Arc<Self>, kind: Kind) -> Claim {
        let mut state = self.state();
        let is_small = kind != Kind::Large;
        let has_room = !is_small || state.small < state.lane(Kind::Blobs).max;
        let lane = state.lane(kind);
        match lane.closed_until {
            Some(until) if until > Instant::now() => return Claim::Closed(until),
            _ if lane.used < lane.limit && has_room => {
                lane.used += 1;
                lane.closed_until = None;
            }
            _ => return Claim::Full,
        }
        state.small += usize::from(is_small);
        Claim::Taken(Permit {
            gate: Arc::clone(self),
            kind,
        })
    }

    /// Whether no more than one request of this kind is under way.
    pub(super) fn has_one(&self, kind: Kind) -> bool {
        self.state().lane(kind).used <= 1
    }

    /// Whether one request more of this kind would have a place at once.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let mut state = self.state();
        let lane = state.lane(kind);
        lane.used < lane.limit
    }

    /// A request of this kind went well.
    pub(super) fn praise(&self, kind: Kind) {
        let mut state = self.state();
        let lane = state.lane(kind);
        lane.round += 1;
        if lane.round >= lane.limit && lane.limit < lane.max {
            lane.limit += 1;
            lane.round = 0;
            drop(state);
            self.freed.notify_waiters();
        }
    }

    /// The registry complained of a request of this kind: no other one is sent for `pause`, and fewer then.
    pub(super) fn complain(&self, kind: Kind, pause: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        let lane = state.lane(kind);
        // Complaints that come together are one: the requests were sent under one limit.
        if lane.closed_until.is_none_or(|until| until <= now) {
            lane.limit = (lane.limit / 2).max(1);
        }
        lane.round = 0;
        lane.close(now + pause);
    }

    /// Until when requests of this kind wait, since the registry asked for it; nothing where they do not.
    pub(super) fn closed_until(&self, kind: Kind) -> Option<Instant> {
        let until = self.state().lane(kind).closed_until;
        until.filter(|until| *until > Instant::now())
    }

    /// The same where the number of requests is not this gate's to find: they wait for `pause`.
    pub(super) fn pause(&self, kind: Kind, pause: Duration) {
        self.state().lane(kind).close(Instant::now() + pause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn close(&mut self, until: Instant) {
        if self.closed_until.is_none_or(|closed| closed < until) {
            self.closed_until = Some(until);
        }
    }
}

impl State {
    const fn lane(&mut self, kind: Kind) -> &mut Lane {
        let [manifests, blobs, lists, large] = &mut self.lanes;
        match kind {
            Kind::Manifests => manifests,
            Kind::Blobs => blobs,
            Kind::Lists => lists,
            Kind::Large => large,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        let lane = state.lane(self.kind);
        lane.used = lane.used.saturating_sub(1);
        if self.kind != Kind::Large {
            state.small = state.small.saturating_sub(1);
        }
        drop(state);
        self.gate.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::Large;

    fn limit_of(gate: &Gate) -> usize {
        gate.state().lane(KIND).limit
    }

    #[tokio::test(start_paused = true)]
    async fn halves_on_complaint_and_grows_back_one_a_round() {
        let gate = Arc::new(Gate::default());
        gate.complain(KIND, Duration::from_secs(3));
        assert_eq!(limit_of(&gate), 4);
        let before = Instant::now();
        let permit = gate.permit(KIND).await;
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        drop(permit);
        for _ in 0..4 {
            gate.praise(KIND);
        }
        assert_eq!(limit_of(&gate), 5);
        for _ in 0..1000 {
            gate.praise(KIND);
        }
        assert_eq!(limit_of(&gate), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_takes_no_wake_up_with_it() {
        let gate = Arc::new(Gate::new(1, 1));
        let first = gate.permit(KIND).await;
        let mut gives_up = Box::pin(gate.permit(KIND));
        let mut waits = Box::pin(gate.permit(KIND));
        assert!(futures::poll!(&mut gives_up).is_pending());
        assert!(futures::poll!(&mut waits).is_pending());
        gate.complain(KIND, Duration::from_secs(1));
        drop(first);
        // It is woken, finds the lane closed, sleeps, and then its job ends.
        assert!(futures::poll!(&mut gives_up).is_pending());
        drop(gives_up);
        let before = Instant::now();
        waits.await;
        assert_eq!(before.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn holds_back_what_is_too_much() {
        let gate = Arc::new(Gate::new(1, 2));
        let (one, _two) = (gate.permit(KIND).await, gate.permit(KIND).await);
        let mut third = Box::pin(gate.permit(KIND));
        assert!(futures::poll!(&mut third).is_pending());
        drop(one);
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_throttled_holds_up_no_other() {
        let gate = Arc::new(Gate::default());
        gate.complain(Kind::Lists, Duration::from_mins(1));
        let before = Instant::now();
        for kind in [Kind::Manifests, Kind::Blobs, Kind::Large] {
            drop(gate.permit(kind).await);
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(gate.state().lane(Kind::Manifests).limit, SMALL_MAX);
        drop(gate.permit(Kind::Lists).await);
        assert_eq!(before.elapsed(), Duration::from_mins(1));
    }

    #[tokio::test]
    async fn small_requests_of_all_kinds_have_one_bound() {
        let gate = Arc::new(Gate::new(2, 1));
        let _one = gate.permit(Kind::Lists).await;
        let two = gate.permit(Kind::Blobs).await;
        assert!(gate.try_permit(Kind::Manifests).is_none());
        assert!(gate.try_permit(Kind::Large).is_some());
        drop(two);
        assert!(gate.try_permit(Kind::Manifests).is_some());
    }

    #[test]
    fn the_kind_follows_from_the_path() {
        for (path, kind) in [
            ("", Kind::Manifests),
            ("a/b/manifests/latest", Kind::Manifests),
            ("a/b/blobs/sha256:00", Kind::Blobs),
            (
                "a/b/blobs/uploads/?mount=sha256:00&from=a/tags/list",
                Kind::Blobs,
            ),
            ("a/b/tags/list?n=1000", Kind::Lists),
            ("a/b/referrers/sha256:00", Kind::Lists),
            ("a/blobs/manifests/tags", Kind::Manifests),
            ("referrers/tags/manifests/list", Kind::Manifests),
        ] {
            assert_eq!(Kind::of(path), kind, "{path}");
        }
    }
}
