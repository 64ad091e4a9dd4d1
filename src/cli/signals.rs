//! Interrupt and terminate: the first asks the run to end, the second leaves at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::event::End;
use crate::runner::Wish;

use super::error::Error;

/// What a process ends with when it leaves at once.
pub(super) const fn code(end: End) -> u8 {
    match end {
        End::Terminated => 143,
        End::Interrupted | End::Completed => 130,
    }
}

/// The signals of this process.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::usage("cannot listen for signals", &error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(fail)?,
            terminate: signal(SignalKind::terminate()).map_err(fail)?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.interrupt.recv() => End::Interrupted,
            _ = self.terminate.recv() => End::Terminated,
        }
    }

    /// Passes the first signal on as a wish; returns at the second.
    pub(super) async fn watch(mut self, wish: watch::Sender<Wish>) -> End {
        let first = self.next().await;
        wish.send_replace(Wish::Stop(first));
        self.next().await
    }
}
