//! `rig relay`: a link between a client and a server that is as long and as narrow as it is told.
//!
//! It relays TCP connections and knows nothing of what they carry.
//!
//! - The delay: each byte arrives half a round trip after it was sent. A connection costs one round trip
//!   before its first byte is sent. Resets are not delayed.
//! - The rate: one link for all connections, each direction by itself. Before it is a queue, in which
//!   connections take turns; who finds it full waits, and no byte is lost. So there is no congestion
//!   control to be seen here, no slow start and no loss: a link as good as its figures.
//! - Cuts: each time so many bytes passed, both ways and all connections together, the connection that
//!   brought the last of them is reset at both ends.
//!
//! Timers are exact to a millisecond, so that is what a round trip is exact to.

mod link;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{Failure, web};

use link::{Link, Shape};

/// What the kernel may hold of a connection at each end of the relay, in bytes: enough for loopback, and
/// little beside what is under way.
const SOCKET_BUFFER: u32 = 256 * 1024;
/// A read buffer with less room than this is replaced.
const ROOM_MIN: usize = 8 * 1024;
/// How late timers are in the middle: they are rounded up to a millisecond, and so is the wait for events.
const TIMER_LATE: Duration = Duration::from_millis(1);

/// What `rig relay` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server that connections lead to.
    #[arg(long, value_name = "ADDR")]
    to: SocketAddr,
    /// The round trip, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = 0)]
    delay_ms: u64,
    /// What the link carries each way; without it, whatever the machine can.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bits_per_second: Option<u64>,
    /// Reset a connection each time so many bytes passed.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    cut_every: Option<u64>,
    /// Address and port to listen on, of loopback; port 0 is one that is free.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Relays until a signal comes; then prints what passed, as one line of JSON.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    if !options.to.ip().is_loopback() {
        return Err(format!("{} is not of loopback", options.to).into());
    }
    let shape = Shape {
        round_trip: Duration::from_millis(options.delay_ms),
        bits_per_second: options.bits_per_second,
    };
    let state = Arc::new(State {
        shape,
        to: options.to,
        begin: Instant::now(),
        there: Direction::new(shape),
        back: Direction::new(shape),
        cut_every: options.cut_every,
        passed: AtomicU64::new(0),
        cuts: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        busy: Mutex::default(),
    });
    let listener = web::bind(options.listen, Some(SOCKET_BUFFER))?;
    web::announce(&listener)?;
    tokio::select! {
        ended = web::asked_to_end() => ended?,
        failed = accept(listener, Arc::clone(&state)) => failed?,
    }
    println!("{}", state.json());
    Ok(())
}

/// What all connections share.
#[derive(Debug)]
struct State {
    shape: Shape,
    to: SocketAddr,
    begin: Instant,
    /// From clients to the server.
    there: Direction,
    back: Direction,
    cut_every: Option<u64>,
    /// Both ways.
    passed: AtomicU64,
    cuts: AtomicU64,
    connections: AtomicU64,
    /// When the first byte came in and the last went out.
    busy: Mutex<Option<(Duration, Duration)>>,
}

#[derive(Debug)]
struct Direction {
    /// Its lock is given in the order in which it was asked for: so connections take turns.
    link: tokio::sync::Mutex<Link>,
    passed: AtomicU64,
}

impl Direction {
    fn new(shape: Shape) -> Self {
        Self {
            link: tokio::sync::Mutex::new(Link::new(shape)),
            passed: AtomicU64::new(0),
        }
    }
}

impl State {
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    async fn sleep_until(&self, time: Duration) {
        let left = time.saturating_sub(self.now());
        if !left.is_zero() {
            // Of what is shorter than two timers, the middle.
            tokio::time::sleep(left.saturating_sub(TIMER_LATE).max(left / 2)).await;
        }
    }

    /// Sends so many bytes once it is their turn, but not before `earliest`; returns when they arrive.
    async fn send(&self, direction: &Direction, earliest: Duration, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut link = direction.link.lock().await;
        if earliest > self.now() {
            // Nobody else waits for a connection that is not there yet.
            drop(link);
            self.sleep_until(earliest).await;
            link = direction.link.lock().await;
        }
        let room = link.room(self.now());
        self.sleep_until(room).await;
        link.send(self.now().max(earliest), bytes)
    }

    fn begun(&self) {
        let now = self.now();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.get_or_insert((now, now));
    }

    /// Counts what was delivered, and says whether the connection is to be cut.
    fn delivered(&self, direction: &Direction, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        direction.passed.fetch_add(bytes, Ordering::Relaxed);
        let now = self.now();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = busy.as_mut() {
            *last = now;
        }
        drop(busy);
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        let is_cut = self
            .cut_every
            .is_some_and(|every| before / every != (before + bytes) / every);
        if is_cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        is_cut
    }

    fn json(&self) -> serde_json::Value {
        let busy = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = busy.map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first));
        json!({
            "bytes_to": self.there.passed.load(Ordering::Relaxed),
            "bytes_from": self.back.passed.load(Ordering::Relaxed),
            "seconds": seconds.as_secs_f64(),
            "connections": self.connections.load(Ordering::Relaxed),
            "cuts": self.cuts.load(Ordering::Relaxed),
        })
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        state.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(client, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection. Whatever breaks one of its ways resets both ends.
async fn connection(mut client: TcpStream, state: Arc<State>) {
    // The client believes that it is connected as soon as the kernel took it: its first byte waits instead.
    let established = state.now() + state.shape.round_trip;
    let Ok(mut server) = connect(state.to).await else {
        drop(client.set_zero_linger());
        return;
    };
    drop(client.set_nodelay(true));
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            way(from_client, to_server, (&state, &state.there), established),
            way(from_server, to_client, (&state, &state.back), established),
        )
    };
    if ended.is_err() {
        for stream in [client, server] {
            drop(stream.set_zero_linger());
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A piece under way, and when it arrives. An empty one is the end of the stream.
type Piece = (Bytes, Duration);

/// One way of a connection, until it ends in order, or else by an error.
async fn way(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    link: (&State, &Direction),
    established: Duration,
) -> io::Result<()> {
    // Bounded by the window.
    let (under_way, arriving) = mpsc::unbounded_channel();
    let window = Semaphore::new(link.0.shape.window());
    tokio::try_join!(
        read(from, under_way, (link, &window), established),
        write(to, arriving, (link, &window)),
    )?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    under_way: mpsc::UnboundedSender<Piece>,
    ((state, direction), window): ((&State, &Direction), &Semaphore),
    established: Duration,
) -> io::Result<()> {
    let piece = state.shape.piece();
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < ROOM_MIN {
            buffer.reserve(piece.max(ROOM_MIN));
        }
        let length = from.read_buf(&mut (&mut buffer).limit(piece)).await?;
        state.begun();
        let permits = u32::try_from(length).map_err(io::Error::other)?;
        let room = window
            .acquire_many(permits)
            .await
            .map_err(io::Error::other)?;
        room.forget();
        let arrival = state.send(direction, established, length).await;
        let bytes = buffer.split().freeze();
        let is_end = bytes.is_empty();
        if under_way.send((bytes, arrival)).is_err() || is_end {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut arriving: mpsc::UnboundedReceiver<Piece>,
    ((state, direction), window): ((&State, &Direction), &Semaphore),
) -> io::Result<()> {
    while let Some((bytes, arrival)) = arriving.recv().await {
        state.sleep_until(arrival).await;
        if bytes.is_empty() {
            break;
        }
        to.write_all(&bytes).await?;
        window.add_permits(bytes.len());
        if state.delivered(direction, bytes.len()) {
            return Err(io::Error::other("it is time for a cut"));
        }
    }
    to.shutdown().await
}
