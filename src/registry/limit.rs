//! How many requests a registry gets at once: a limit that adapts.
//!
//! Additive increase, multiplicative decrease: one more after each round without complaint, half
//! after a 429 or 503. A `Retry-After` closes the whole lane until then, and only this registry's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The number of requests that may be under way at once.
#[derive(Debug)]
pub(super) struct Limit {
    max: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    // Successes since the limit last moved.
    round: usize,
    closed_until: Option<Instant>,
}

/// A place under a [`Limit`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Limit>);

/// What a question for a place brings.
enum Claim {
    Taken(Permit),
    Closed(Instant),
    Full,
}

impl Limit {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            state: Mutex::new(State {
                limit: max.max(1),
                used: 0,
                round: 0,
                closed_until: None,
            }),
            freed: Notify::new(),
        }
    }

    /// Waits for a place.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call gives up the place in the queue and nothing else.
    pub(super) async fn permit(self: &Arc<Self>) -> Permit {
        loop {
            // Made before the state is looked at, so that no change in between is missed; all who
            // wait are woken, so that none takes a wake-up with it when its job ends.
            let freed = self.freed.notified();
            match self.claim() {
                Claim::Taken(permit) => return permit,
                Claim::Closed(until) => tokio::time::sleep_until(until).await,
                Claim::Full => freed.await,
            }
        }
    }

    /// A place, if there is one now.
    pub(super) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        match self.claim() {
            Claim::Taken(permit) => Some(permit),
            Claim::Closed(_) | Claim::Full => None,
        }
    }

    fn claim(self: &Arc<Self>) -> Claim {
        let mut state = self.state();
        match state.closed_until {
            Some(until) if until > Instant::now() => Claim::Closed(until),
            _ if state.used < state.limit => {
                state.used += 1;
                state.closed_until = None;
                Claim::Taken(Permit(Arc::clone(self)))
            }
            _ => Claim::Full,
        }
    }

    /// A request went well.
    pub(super) fn praise(&self) {
        let mut state = self.state();
        state.round += 1;
        if state.round >= state.limit && state.limit < self.max {
            state.limit += 1;
            state.round = 0;
            drop(state);
            self.freed.notify_waiters();
        }
    }

    /// The registry complained; nothing is sent for `pause`.
    pub(super) fn complain(&self, pause: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        // Complaints that come together are one: the requests were sent under one limit.
        if state.closed_until.is_none_or(|until| until <= now) {
            state.limit = (state.limit / 2).max(1);
        }
        state.round = 0;
        let until = now + pause;
        if state.closed_until.is_none_or(|closed| closed < until) {
            state.closed_until = Some(until);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.used = state.used.saturating_sub(1);
        drop(state);
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(limit: &Limit) -> usize {
        limit.state().limit
    }

    #[tokio::test(start_paused = true)]
    async fn halves_on_complaint_and_grows_back_one_a_round() {
        let limit = Arc::new(Limit::new(8));
        limit.complain(Duration::from_secs(3));
        assert_eq!(limit_of(&limit), 4);
        let before = Instant::now();
        let permit = limit.permit().await;
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        drop(permit);
        for _ in 0..4 {
            limit.praise();
        }
        assert_eq!(limit_of(&limit), 5);
        for _ in 0..1000 {
            limit.praise();
        }
        assert_eq!(limit_of(&limit), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_takes_no_wake_up_with_it() {
        let limit = Arc::new(Limit::new(1));
        let first = limit.permit().await;
        let mut gives_up = Box::pin(limit.permit());
        let mut waits = Box::pin(limit.permit());
        assert!(futures::poll!(&mut gives_up).is_pending());
        assert!(futures::poll!(&mut waits).is_pending());
        limit.complain(Duration::from_secs(1));
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
        let limit = Arc::new(Limit::new(2));
        let (one, _two) = (limit.permit().await, limit.permit().await);
        let mut third = Box::pin(limit.permit());
        assert!(futures::poll!(&mut third).is_pending());
        drop(one);
        third.await;
    }
}
