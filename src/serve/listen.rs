//! Connections: taken, served, and ended.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::limits::serve::CONNECTIONS_MAX;

use super::Registry;
use super::answer::{Body, BodyError};

/// How long the head of a request may take, and a connection stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);

/// How long requests may still run after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait when the system has no socket to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. An error ends the connection without an answer.
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, BodyError>> + Send;
}

impl Handler for Registry {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, BodyError> {
        Ok(Self::handle(self, request).await)
    }
}

/// Serves what comes to `listener` until `shutdown` is done; then requests under way have a few
/// seconds to end.
///
/// Dropped, it ends everything at once.
///
/// # Errors
///
/// When the listener is broken; a single connection that fails is only logged.
pub async fn listen<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let identity = |stream: TcpStream| async { Ok(stream) };
    listen_with(listener, identity, handler, shutdown).await
}

/// As [`listen`], with `wrap` around each connection: TLS, say. A connection that it refuses is
/// closed.
///
/// # Errors
///
/// As [`listen`].
pub async fn listen_with<H, S, W, F>(
    listener: TcpListener,
    wrap: W,
    handler: Arc<H>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    W: Fn(TcpStream) -> F,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let end = CancellationToken::new();
    let mut connections = JoinSet::new();
    let result = loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break Ok(()),
            // Without this, the results of connections that ended would pile up.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_passing(&error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::select! {
                    () = &mut shutdown => break Ok(()),
                    () = tokio::time::sleep(EXHAUSTED_PAUSE) => continue,
                }
            }
            Err(error) => break Err(error),
        };
        let wrapped = wrap(stream);
        let (handler, end) = (Arc::clone(&handler), end.clone());
        connections.spawn(async move {
            match tokio::time::timeout(HEAD_TIMEOUT, wrapped).await {
                Ok(Ok(stream)) => serve(stream, peer, handler, end).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection was refused"),
                Err(_) => tracing::debug!(%peer, "a connection did not begin in time"),
            }
            drop(permit);
        });
    };
    end.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        connections.shutdown().await;
    }
    result
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and waited for: do not hold them back to fill a packet.
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// Whether another connection may still come: this one broke early, or there are too many.
fn is_passing(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::Other
    )
}

async fn serve<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    handler: Arc<H>,
    end: CancellationToken,
) {
    let service = service_fn(|request| handler.handle(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(%peer, error, "a connection ended early");
    }
}
