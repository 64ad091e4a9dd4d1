//! A small proxy on loopback: CONNECT and plain HTTP (RFC 9110, sections 7.6 and 9.3.6), and SOCKS 5 (RFC 1928,
//! RFC 1929). It knows the names of the hosts that it is made with, and no others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{self, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Who may use the proxies of these tests.
pub(super) const USER: &str = "proxy-user";
/// With a character that has a meaning in URLs.
pub(super) const PASSWORD: &str = "proxy@word";

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It forwards for those who are allowed to.
    Forwards,
    /// It answers with this status line.
    Refuses(&'static str),
}

/// A proxy at work; dropped, it ends with all its connections.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Shared {
    manner: Manner,
    hosts: Vec<(&'static str, SocketAddr)>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that knows these hosts, whatever port is asked for.
    pub(super) async fn start(manner: Manner, hosts: &[(&'static str, &str)]) -> Self {
        let address = |text: &str| text.parse().expect("an address");
        let heads = Arc::default();
        let shared = Arc::new(Shared {
            manner,
            hosts: hosts
                .iter()
                .map(|(name, to)| (*name, address(to)))
                .collect(),
            heads: Arc::clone(&heads),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // An end that goes away is the business of the other end.
                connections.spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Self {
            address,
            heads,
            _server: server,
        }
    }

    /// Its host and port.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its URL, with the user who may use it.
    pub(super) fn url(&self, scheme: &str) -> String {
        let password = PASSWORD.replace('@', "%40");
        format!("{scheme}://{USER}:{password}@{}", self.address)
    }

    /// The heads of all requests so far; for SOCKS, the host and port that is asked for.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The value of the header that lets a user in.
pub(super) fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

impl Shared {
    fn note(&self, head: &str) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push(head.to_owned());
    }

    /// Connects to a host of `host:port`.
    async fn connect(&self, authority: &str) -> Option<TcpStream> {
        let name = authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name);
        let (_, to) = self.hosts.iter().find(|(known, _)| *known == name)?;
        TcpStream::connect(to).await.ok()
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        if stream.fill_buf().await?.first() == Some(&5) {
            return self.socks(stream).await;
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        self.note(&head);
        let answer = async |mut stream: BufReader<TcpStream>, status: &str| {
            let more = "Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 0";
            let text = format!("HTTP/1.1 {status}\r\n{more}\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        };
        if let Manner::Refuses(status) = self.manner {
            return answer(stream, status).await;
        }
        let is_own = |line: &&str| line.to_ascii_lowercase().starts_with("proxy-");
        let wanted = format!("proxy-authorization: {}", authorization());
        let mut own = head.lines().filter(is_own);
        if !own.any(|line| line.eq_ignore_ascii_case(&wanted)) {
            return answer(stream, "407 Proxy Authentication Required").await;
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut upstream = if method == "CONNECT" {
            let Some(upstream) = self.connect(target).await else {
                return answer(stream, "502 Bad Gateway").await;
            };
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            upstream
        } else {
            let (authority, path) = target
                .strip_prefix("http://")
                .and_then(|target| target.split_once('/'))
                .unwrap_or_default();
            let Some(mut upstream) = self.connect(authority).await else {
                return answer(stream, "502 Bad Gateway").await;
            };
            // One request a connection: the registry closes it, and says so.
            let rest = head
                .lines()
                .skip(1)
                .filter(|line| !is_own(line) && !line.is_empty());
            let mut text = format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n");
            for line in rest {
                text.push_str(line);
                text.push_str("\r\n");
            }
            text.push_str("\r\n");
            upstream.write_all(text.as_bytes()).await?;
            upstream
        };
        io::copy_bidirectional(&mut stream, &mut upstream).await?;
        Ok(())
    }

    async fn socks(&self, mut stream: BufReader<TcpStream>) -> io::Result<()> {
        let text = async |stream: &mut BufReader<TcpStream>| {
            let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut bytes).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        // Greeting: of the ways to prove who one is, a user with a password.
        stream.read_u8().await?;
        text(&mut stream).await?;
        stream.write_all(&[5, 2]).await?;
        stream.read_u8().await?;
        let (user, password) = (text(&mut stream).await?, text(&mut stream).await?);
        let is_good = user == USER && password == PASSWORD && self.manner == Manner::Forwards;
        stream.write_all(&[1, u8::from(!is_good)]).await?;
        if !is_good {
            return Ok(());
        }
        // Version, connect, reserved, and a name.
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        let host = match request {
            [5, 1, 0, 3] => text(&mut stream).await?,
            other => {
                self.note(&format!("no name: {other:?}"));
                return Ok(());
            }
        };
        let authority = format!("{host}:{}", stream.read_u16().await?);
        self.note(&authority);
        let Some(mut upstream) = self.connect(&authority).await else {
            return stream.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        };
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        io::copy_bidirectional(&mut stream, &mut upstream).await?;
        Ok(())
    }
}
