//! A gate before a registry: so many bytes pass, and no more until it is opened. So a run can be
//! caught in the middle, wherever that is, without waiting for time to pass. A narrow gate makes a
//! registry slow instead.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CHUNK: usize = 8 * 1024;

/// Which way the bytes go that a gate counts and holds. The other way is always open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into the registry: requests.
    In,
    /// Out of it: answers.
    Out,
}

/// A gate on loopback; dropped, it ends with all its connections.
#[derive(Debug)]
pub(crate) struct Gate {
    host: String,
    state: Arc<State>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    way: Way,
    /// Bytes that may still pass.
    left: AtomicU64,
    is_open: watch::Sender<bool>,
    is_held: watch::Sender<bool>,
    narrow: Option<Narrow>,
}

/// How fast bytes pass.
#[derive(Debug)]
struct Narrow {
    bytes_a_second: u64,
    /// When the next may pass.
    next: Mutex<Instant>,
}

impl Narrow {
    async fn pass(&self, bytes: u64) {
        let time = Duration::from_micros(bytes * 1_000_000 / self.bytes_a_second);
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + time;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

impl Gate {
    /// A gate before `backend` that lets `bytes` bytes pass that way and holds all that follow.
    pub(crate) async fn start(backend: &str, way: Way, bytes: u64) -> Self {
        Self::with(backend, way, bytes, None).await
    }

    /// A gate that so many bytes a second pass that way, all connections together, for ever.
    pub(crate) async fn narrow(backend: &str, way: Way, bytes_a_second: u64) -> Self {
        let narrow = Narrow {
            bytes_a_second,
            next: Mutex::new(Instant::now()),
        };
        Self::with(backend, way, u64::MAX, Some(narrow)).await
    }

    async fn with(backend: &str, way: Way, bytes: u64, narrow: Option<Narrow>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(State {
            way,
            left: AtomicU64::new(bytes),
            is_open: watch::Sender::new(false),
            is_held: watch::Sender::new(false),
            narrow,
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, backend.to_owned(), Arc::clone(&state)));
        Self {
            host,
            state,
            _server: server,
        }
    }

    /// Address and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Waits until it holds something back.
    pub(crate) async fn held(&self) {
        let mut held = self.state.is_held.subscribe();
        held.wait_for(|held| *held).await.expect("it lives");
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self) {
        self.state.is_open.send_replace(true);
    }
}

impl State {
    /// Returns when `bytes` more bytes may pass.
    async fn pass(&self, bytes: u64) {
        if let Some(narrow) = &self.narrow {
            narrow.pass(bytes).await;
        }
        let take = |left: u64| left.checked_sub(bytes);
        let order = Ordering::Relaxed;
        if self.left.fetch_update(order, order, take).is_ok() {
            return;
        }
        // Nothing small slips through after something large was held.
        self.left.store(0, order);
        self.is_held.send_replace(true);
        let mut open = self.is_open.subscribe();
        open.wait_for(|open| *open).await.expect("it lives");
    }
}

async fn serve(listener: TcpListener, backend: String, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(connect(client, backend.clone(), Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection. Whatever ends one of its ways ends both.
async fn connect(client: TcpStream, backend: String, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(backend).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // How it ended is seen by those who spoke through it.
    let gate = |way| (state.way == way).then_some(&*state);
    tokio::select! {
        ended = copy(from_client, to_server, gate(Way::In)) => drop(ended),
        ended = copy(from_server, to_client, gate(Way::Out)) => drop(ended),
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: Option<&State>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        if let Some(state) = gate {
            state
                .pass(u64::try_from(length).expect("it is small"))
                .await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}
