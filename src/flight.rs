//! One run per key, however many ask.
//!
//! The first to ask for a key leads and does the work; the others wait and get its value. A leader
//! that fails, or is dropped in the middle, hands over: one of the waiters leads with work of its
//! own. Errors are not remembered, so that one job's trouble is not another's verdict.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Work that happens once per key, and its values.
#[derive(Debug)]
pub struct Flight<K, V> {
    slots: Mutex<HashMap<K, Slot<V>>>,
}

#[derive(Debug)]
enum Slot<V> {
    Flying(Arc<Notify>),
    Landed(V),
}

/// How a value was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This call did the work.
    Led,
    /// Another call had done it, or did it while this one waited.
    Followed,
}

impl<K, V> Default for Flight<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flight<K, V> {
    /// The value of `key`: remembered, waited for, or made by `work`.
    ///
    /// `waiting` is told when this call begins (`true`) and ends (`false`) to wait for another one,
    /// so that its clocks can stand still meanwhile.
    ///
    /// # Errors
    ///
    /// Only those of this call's own `work`.
    ///
    /// # Cancel safety
    ///
    /// Dropping a leader hands over to a waiter; dropping a waiter has no effect on others. The
    /// caller must go on polling: a leader that is kept but not polled holds up its waiters.
    pub async fn run<E>(
        &self,
        key: &K,
        waiting: impl Fn(bool),
        work: impl AsyncFnOnce() -> Result<V, E>,
    ) -> Result<(V, Role), E> {
        loop {
            let landing = {
                let mut slots = self.slots();
                match slots.get(key) {
                    Some(Slot::Landed(value)) => return Ok((value.clone(), Role::Followed)),
                    Some(Slot::Flying(landing)) => Some(Arc::clone(landing).notified_owned()),
                    None => {
                        slots.insert(key.clone(), Slot::Flying(Arc::new(Notify::new())));
                        None
                    }
                }
            };
            let Some(landing) = landing else { break };
            let _span = Waiting::begin(&waiting);
            landing.await;
        }
        let mut leader = Leader {
            flight: self,
            key,
            value: None,
        };
        let value = work().await?;
        leader.value = Some(value.clone());
        Ok((value, Role::Led))
    }

    /// The value of `key` if it has landed.
    pub fn get(&self, key: &K) -> Option<V> {
        match self.slots().get(key) {
            Some(Slot::Landed(value)) => Some(value.clone()),
            Some(Slot::Flying(_)) | None => None,
        }
    }

    /// Forgets the landed value of `key` if `stale` says so; the next call works again.
    pub fn forget_if(&self, key: &K, stale: impl FnOnce(&V) -> bool) {
        let mut slots = self.slots();
        if let Some(Slot::Landed(value)) = slots.get(key)
            && stale(value)
        {
            slots.remove(key);
        }
    }

    // A panic while the map is locked leaves it whole: every change is one insert or remove.
    fn slots(&self) -> MutexGuard<'_, HashMap<K, Slot<V>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lands or hands over when it goes, whichever way it goes.
struct Leader<'a, K: Eq + Hash + Clone, V: Clone> {
    flight: &'a Flight<K, V>,
    key: &'a K,
    value: Option<V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Leader<'_, K, V> {
    fn drop(&mut self) {
        let mut slots = self.flight.slots();
        let flying = slots.remove(self.key);
        if let Some(value) = self.value.take() {
            slots.insert(self.key.clone(), Slot::Landed(value));
        }
        drop(slots);
        if let Some(Slot::Flying(landing)) = flying {
            landing.notify_waiters();
        }
    }
}

struct Waiting<F: Fn(bool)>(F);

impl<F: Fn(bool)> Waiting<F> {
    fn begin(tell: F) -> Self {
        tell(true);
        Self(tell)
    }
}

impl<F: Fn(bool)> Drop for Waiting<F> {
    fn drop(&mut self) {
        (self.0)(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn many_ask_and_one_works() {
        let flight = Flight::<u8, usize>::default();
        let worked = AtomicUsize::new(0);
        let asks = (0..100).map(|_| {
            flight.run(
                &1,
                |_| (),
                async || {
                    tokio::task::yield_now().await;
                    Ok::<_, ()>(worked.fetch_add(1, Ordering::SeqCst))
                },
            )
        });
        let answers = join_all(asks).await;
        assert_eq!(worked.load(Ordering::SeqCst), 1);
        assert_eq!(
            answers.iter().filter(|a| **a == Ok((0, Role::Led))).count(),
            1
        );
        assert_eq!(
            answers
                .iter()
                .filter(|a| **a == Ok((0, Role::Followed)))
                .count(),
            99
        );
    }

    #[tokio::test]
    async fn a_failed_leader_hands_over_and_its_error_stays_its_own() {
        let flight = Flight::<u8, &str>::default();
        let (first, second) = tokio::join!(
            flight.run(
                &1,
                |_| (),
                async || {
                    tokio::task::yield_now().await;
                    Err("trouble")
                }
            ),
            flight.run(&1, |_| (), async || Ok::<_, &str>("value")),
        );
        assert_eq!(first, Err("trouble"));
        assert_eq!(second, Ok(("value", Role::Led)));
    }

    #[tokio::test]
    async fn a_dropped_leader_hands_over() {
        let flight = Arc::new(Flight::<u8, u8>::default());
        let (started, has_started) = oneshot::channel();
        let mut leader = Box::pin(flight.run(
            &1,
            |_| (),
            async || {
                started.send(()).unwrap();
                std::future::pending::<Result<u8, ()>>().await
            },
        ));
        tokio::select! {
            _ = &mut leader => unreachable!(),
            told = has_started => told.unwrap(),
        }
        let waits = AtomicUsize::new(0);
        let mut follower = Box::pin(flight.run(
            &1,
            |begins| {
                if begins {
                    waits.fetch_add(1, Ordering::SeqCst);
                }
            },
            async || Ok::<_, ()>(7),
        ));
        assert!(futures::poll!(&mut follower).is_pending());
        drop(leader);
        assert_eq!(follower.await, Ok((7, Role::Led)));
        assert_eq!(waits.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_stale_is_made_again() {
        let flight = Flight::<u8, u8>::default();
        let make = async |value| {
            flight
                .run(&1, |_| (), async || Ok::<_, ()>(value))
                .await
                .unwrap()
                .0
        };
        assert_eq!(make(1).await, 1);
        flight.forget_if(&1, |value| *value == 2);
        assert_eq!(make(2).await, 1);
        flight.forget_if(&1, |value| *value == 1);
        assert_eq!(flight.get(&1), None);
        assert_eq!(make(3).await, 3);
    }
}
