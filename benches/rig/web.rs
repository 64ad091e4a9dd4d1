//! What all servers of the rig share: listening on loopback, TLS, the end by a signal, ranges.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Failure;
use crate::body::Content;
use crate::range::Range;

/// How many connections wait to be taken; peers that start a process for each image open many at once.
const BACKLOG: u32 = 4096;

/// Where a server listens, and what it speaks.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Address and port to listen on, of loopback; port 0 is one that is free.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak TLS with this certificate chain and key, both in PEM.
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"])]
    tls: Vec<PathBuf>,
}

/// The answers of all servers.
pub(crate) type Answer = Response<Content>;

/// Who answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request. An error ends the connection without an answer.
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Answer, hyper::Error>> + Send;

    /// The counter of connections, where anybody asks for it.
    fn connections(&self) -> Option<&AtomicU64> {
        None
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with_body(status, Bytes::new())
}

/// An answer with a body.
pub(crate) fn with_body(status: StatusCode, body: Bytes) -> Answer {
    with_content(status, Content::Bytes(body))
}

/// An answer with its length. For HEAD hyper leaves out the body alone.
fn with_content(status: StatusCode, content: Content) -> Answer {
    let length = content.size_hint().exact().unwrap_or_default();
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = with_body(status, value.to_string().into());
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// The answer with a blob or file of so many bytes, or with the range that the request asks for: `part` makes
/// it, from the first byte to before the second.
pub(crate) fn content(
    range: Option<&HeaderValue>,
    length: u64,
    part: impl FnOnce(u64, u64) -> Content,
) -> Answer {
    let asked = range.and_then(|range| range.to_str().ok());
    let mut answer = match asked.map_or(Range::Whole, |text| Range::read(text, length)) {
        Range::Whole => with_content(StatusCode::OK, part(0, length)),
        Range::Part(first, end) => {
            let mut answer = with_content(StatusCode::PARTIAL_CONTENT, part(first, end));
            let last = end.saturating_sub(1);
            content_range(&mut answer, &format!("bytes {first}-{last}/{length}"));
            answer
        }
        Range::Beyond => {
            let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            content_range(&mut answer, &format!("bytes */{length}"));
            answer
        }
    };
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let unit = HeaderValue::from_static("bytes");
    headers.insert(header::ACCEPT_RANGES, unit);
    answer
}

fn content_range(answer: &mut Answer, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

/// A socket that listens, of loopback alone; its connections have buffers of so many bytes, where that is said.
pub(crate) fn bind(address: SocketAddr, buffers: Option<u32>) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        return Err(format!("{address} is not of loopback").into());
    }
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = buffers {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

/// Says where a server listens. Who started it waits for this line.
pub(crate) fn announce(listener: &TcpListener) -> io::Result<()> {
    println!("listening on {}", listener.local_addr()?);
    Ok(())
}

/// Returns when the process is asked to end.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Serves until a signal comes.
pub(crate) async fn run(place: &Place, handler: Arc<impl Handler>) -> Result<(), Failure> {
    let acceptor = acceptor(&place.tls)?;
    let listener = bind(place.listen, None)?;
    announce(&listener)?;
    tokio::select! {
        ended = asked_to_end() => Ok(ended?),
        failed = accept(listener, acceptor, handler) => Ok(failed?),
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    handler: Arc<impl Handler>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        if let Some(counter) = handler.connections() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&handler)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, handler: Arc<impl Handler>) {
    // A connection that breaks is its client's affair.
    drop(stream.set_nodelay(true));
    match acceptor {
        None => drop(serve(stream, handler).await),
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                drop(serve(stream, handler).await);
            }
        }
    }
}

async fn serve<S>(stream: S, handler: Arc<impl Handler>) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| handler.handle(request));
    http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// TLS 1.2 and 1.3 with HTTP/1.1 alone, where there are two files; no TLS where there is none.
fn acceptor(files: &[PathBuf]) -> Result<Option<TlsAcceptor>, Failure> {
    let [certificate, key] = files else {
        return Ok(None);
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
