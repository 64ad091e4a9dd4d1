//! A relay between a program and a registry, which knows nothing of HTTP: it counts bytes, and lets
//! them pass as it is told.
//!
//! - [`Relay::hold`]: so many bytes pass, and no more until it is opened. So a run can be caught in the
//!   middle, wherever that is, without waiting for time to pass.
//! - [`Relay::narrow`] and [`Relay::delay`] make a registry slow.
//! - [`Relay::cut`] ends connections in the middle, in order or by a reset.
//! - [`Relay::refuse`], [`Relay::accept`] and [`Relay::lead_to`]: a registry that is gone, is back, and is
//!   another one. The relay keeps its port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::program::patiently;

const CHUNK: usize = 8 * 1024;
/// How many connections wait to be taken; more than any trial opens at once.
const BACKLOG: u32 = 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into the registry: requests.
    In,
    /// Out of it: answers.
    Out,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order (FIN): there is nothing more.
    Close,
    /// By a reset (RST): what is under way may be lost.
    Reset,
}

/// A port of loopback that stays ours while nobody listens there.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    // Bound, and never listening: it takes no connection, and nobody else is given the port.
    _kept: TcpSocket,
}

impl Port {
    /// One that nobody has.
    pub(crate) fn reserve() -> Self {
        let socket = reusing();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port");
        Self {
            address: socket.local_addr().expect("an address"),
            _kept: socket,
        }
    }

    /// Address and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    fn listen(&self) -> TcpListener {
        let socket = reusing();
        socket.bind(self.address).expect("it is ours");
        socket.listen(BACKLOG).expect("nobody listens there")
    }
}

/// A socket that may be bound to a port beside one that does not listen.
fn reusing() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("it can be shared");
    socket
}

/// A relay on loopback; dropped, it ends with all its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    port: Port,
    state: Arc<State>,
    server: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    backend: Mutex<String>,
    into: Lane,
    out: Lane,
}

/// What holds for all bytes that go one way.
#[derive(Debug)]
struct Lane {
    rules: Mutex<Rules>,
    is_open: watch::Sender<bool>,
    is_held: watch::Sender<bool>,
}

#[derive(Debug)]
struct Rules {
    passed: u64,
    /// Bytes that may still pass.
    left: u64,
    pause: Duration,
    pace: Option<Pace>,
    cut: Option<Cut>,
}

/// How fast bytes pass, all connections together.
#[derive(Debug)]
struct Pace {
    bytes_a_second: u64,
    /// When the next may pass.
    next: Instant,
}

/// Where connections end.
#[derive(Debug, Clone, Copy)]
struct Cut {
    after: u64,
    times: usize,
    end: End,
}

impl Lane {
    fn new() -> Self {
        Self {
            rules: Mutex::new(Rules {
                passed: 0,
                left: u64::MAX,
                pause: Duration::ZERO,
                pace: None,
                cut: None,
            }),
            is_open: watch::Sender::new(false),
            is_held: watch::Sender::new(false),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when `bytes` more bytes may pass.
    async fn pass(&self, bytes: u64) {
        let (turn, pause, is_held) = {
            let mut rules = self.rules();
            let turn = rules.pace.as_mut().map(|pace| pace.turn(bytes));
            let is_held = rules.left < bytes;
            // Nothing small slips through after something large was held.
            rules.left = rules.left.saturating_sub(bytes);
            (turn, rules.pause, is_held)
        };
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn).await;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if is_held {
            self.is_held.send_replace(true);
            let mut open = self.is_open.subscribe();
            open.wait_for(|open| *open).await.expect("it lives");
        }
    }

    /// How much of a piece still passes before the connection ends, and how it ends, where it does in it.
    fn cut(&self, passed: u64, length: u64) -> Option<(u64, End)> {
        let mut rules = self.rules();
        let cut = rules.cut.as_mut()?;
        if cut.times == 0 || passed + length < cut.after {
            return None;
        }
        cut.times -= 1;
        Some((cut.after.saturating_sub(passed), cut.end))
    }
}

impl Pace {
    fn turn(&mut self, bytes: u64) -> Instant {
        let time = Duration::from_micros(bytes * 1_000_000 / self.bytes_a_second);
        let turn = self.next.max(Instant::now());
        self.next = turn + time;
        turn
    }
}

impl Relay {
    /// A relay before `backend` that lets everything pass.
    pub(crate) fn start(backend: &str) -> Self {
        let relay = Self {
            port: Port::reserve(),
            state: Arc::new(State {
                backend: Mutex::new(backend.to_owned()),
                into: Lane::new(),
                out: Lane::new(),
            }),
            server: Mutex::default(),
        };
        relay.accept();
        relay
    }

    /// Address and port.
    pub(crate) fn host(&self) -> String {
        self.port.host()
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::In => &self.state.into,
            Way::Out => &self.state.out,
        }
    }

    /// Lets `bytes` more bytes pass that way, and holds all that follow. The other way is open.
    pub(crate) fn hold(self, way: Way, bytes: u64) -> Self {
        self.lane(way).rules().left = bytes;
        self
    }

    /// Waits until it holds something back that way.
    pub(crate) async fn held(&self, way: Way) {
        let mut held = self.lane(way).is_held.subscribe();
        let held = held.wait_for(|held| *held);
        patiently("a relay to hold", held).await.expect("it lives");
    }

    /// Lets everything through from now on that was held.
    pub(crate) fn open(&self) {
        for way in [Way::In, Way::Out] {
            self.lane(way).rules().left = u64::MAX;
            self.lane(way).is_open.send_replace(true);
        }
    }

    /// Lets so many bytes a second pass that way, all connections together.
    pub(crate) fn narrow(self, way: Way, bytes_a_second: u64) -> Self {
        self.lane(way).rules().pace = Some(Pace {
            bytes_a_second,
            next: Instant::now(),
        });
        self
    }

    /// Waits so long before each piece of at most 8 KiB that goes that way.
    pub(crate) fn delay(self, way: Way, pause: Duration) -> Self {
        self.lane(way).rules().pause = pause;
        self
    }

    /// Ends the first `times` connections that bring so many bytes that way, once they have.
    pub(crate) fn cut(self, way: Way, after: u64, (times, end): (usize, End)) -> Self {
        self.lane(way).rules().cut = Some(Cut { after, times, end });
        self
    }

    /// How many bytes passed that way.
    pub(crate) fn passed(&self, way: Way) -> u64 {
        self.lane(way).rules().passed
    }

    /// New connections lead to another place.
    pub(crate) fn lead_to(&self, backend: &str) {
        backend.clone_into(&mut self.state.backend());
    }

    /// Ends all connections, and takes no more: they are refused.
    pub(crate) async fn refuse(&self) {
        let mut server = std::mem::take(&mut *self.server());
        server.shutdown().await;
    }

    /// Takes connections again.
    pub(crate) fn accept(&self) {
        let (listener, state) = (self.port.listen(), Arc::clone(&self.state));
        self.server().spawn(serve(listener, state));
    }

    fn server(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn backend(&self) -> MutexGuard<'_, String> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(connect(client, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection. Whatever ends one of its ways ends both.
async fn connect(mut client: TcpStream, state: Arc<State>) {
    let backend = state.backend().clone();
    let Ok(mut server) = TcpStream::connect(backend).await else {
        return;
    };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = copy(from_client, to_server, &state.into) => end,
            end = copy(from_server, to_client, &state.out) => end,
        }
    };
    // How it ended otherwise is seen by those who spoke through it.
    if end.is_ok_and(|end| end == End::Reset) {
        for stream in [client, server] {
            drop(stream.set_zero_linger());
        }
    }
}

/// Brings everything from one side to the other, and says how the connection is to end.
async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, lane: &Lane) -> io::Result<End> {
    let mut chunk = vec![0; CHUNK];
    let mut passed = 0;
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(End::Close);
        }
        let bytes = u64::try_from(length).expect("it is small");
        lane.pass(bytes).await;
        let cut = lane.cut(passed, bytes);
        let bytes = cut.map_or(bytes, |(bytes, _)| bytes);
        let length = usize::try_from(bytes).expect("it is small");
        to.write_all(&chunk[..length]).await?;
        lane.rules().passed += bytes;
        passed += bytes;
        if let Some((_, end)) = cut {
            return Ok(end);
        }
    }
}
