//! A job's clock that stands still while the job only waits for another one's work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Knows how long a job has only been waiting for other jobs.
///
/// Time counts as waited when at least one part of the job waits for another job and no part of it
/// works itself.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    working: usize,
    idle_since: Option<Instant>,
    waited: Duration,
}

/// A part of a job that works; ends when dropped.
#[derive(Debug)]
#[must_use = "the work ends when this is dropped"]
pub struct Work<'a>(&'a Pace);

impl Pace {
    /// A part of the job begins (`true`) or ends (`false`) to wait for another job.
    pub fn waiting(&self, begins: bool) {
        let mut state = self.state();
        state.waiting = if begins {
            state.waiting + 1
        } else {
            state.waiting.saturating_sub(1)
        };
        state.turn();
    }

    /// A part of the job begins to work.
    pub fn work(&self) -> Work<'_> {
        let mut state = self.state();
        state.working += 1;
        state.turn();
        Work(self)
    }

    /// How long the job has only waited, until now.
    pub fn waited(&self) -> Duration {
        let state = self.state();
        state.waited
            + state
                .idle_since
                .map(|since| since.elapsed())
                .unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self) {
        let is_idle = self.waiting > 0 && self.working == 0;
        match (is_idle, self.idle_since) {
            (true, None) => self.idle_since = Some(Instant::now()),
            (false, Some(since)) => {
                self.waited += since.elapsed();
                self.idle_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.working = state.working.saturating_sub(1);
        state.turn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_pure_waiting_counts() {
        let pace = Pace::default();
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        pace.waiting(true);
        tokio::time::advance(second).await;
        let work = pace.work();
        tokio::time::advance(second).await;
        drop(work);
        tokio::time::advance(second).await;
        assert_eq!(pace.waited(), 2 * second);
        pace.waiting(false);
        tokio::time::advance(second).await;
        assert_eq!(pace.waited(), 2 * second);
    }
}
