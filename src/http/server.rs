//! Connections: accepts them, bounds them, and ends them gracefully. Runs on tokio's threads.
//!
//! `axum::serve` sets no bound on the time that a request's head may take, on the size of the read buffer, or on the number of
//! connections, so this module drives hyper itself.

use super::{AppState, router};
use crate::config::ServeConfig;
use crate::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX, LINGER_SECONDS_MAX, SHUTDOWN_SECONDS_MAX};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address means nothing.
    #[error("the address \"{addr}\" cannot be resolved: {source}; expected HOST:PORT such as 127.0.0.1:8080")]
    Unresolved {
        /// As it was given.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// Others can reach the address, and there are no keys.
    #[error(
        "{0} can be reached from other machines, and this server has no API keys: anybody could use it. \
         Listen on 127.0.0.1, or say --insecure-no-auth if something else guards the address"
    )]
    Exposed(SocketAddr),
    /// The system does not let us listen.
    #[error("cannot listen on {addr}: {source}")]
    NoListen {
        /// As it was given.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens the listening socket. Refuses an address that others can reach, unless the configuration says that this is wanted.
pub async fn bind(config: &ServeConfig) -> Result<TcpListener, ServeError> {
    let addr = &config.addr;
    let resolved: Vec<SocketAddr> = tokio::net::lookup_host(addr)
        .await
        .map_err(|source| ServeError::Unresolved { addr: addr.clone(), source })?
        .collect();
    if let Some(exposed) = resolved.iter().find(|addr| !addr.ip().to_canonical().is_loopback())
        && !config.insecure_no_auth
    {
        return Err(ServeError::Exposed(*exposed));
    }
    TcpListener::bind(&resolved[..]).await.map_err(|source| ServeError::NoListen { addr: addr.clone(), source })
}

/// Binds and serves until `shutdown` is cancelled. Callers that want to know the address first use [`bind`] and [`serve_on`].
pub async fn serve(config: &ServeConfig, state: AppState, shutdown: CancellationToken) -> Result<(), ServeError> {
    let listener = bind(config).await?;
    serve_on(listener, state, shutdown).await;
    Ok(())
}

/// Serves until `shutdown` is cancelled; then event streams and waits end at once, and other open requests get
/// [`SHUTDOWN_SECONDS_MAX`] seconds.
pub async fn serve_on(listener: TcpListener, mut state: AppState, shutdown: CancellationToken) {
    state.hosts.loopback = listener.local_addr().is_ok_and(|addr| addr.ip().to_canonical().is_loopback());
    let closing = state.closing.clone();
    let head_timeout = Duration::from_secs(state.limits.head_seconds_max);
    let service = router(state);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        // The permit comes first: connections beyond the bound wait in the kernel's queue and cost us nothing.
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(error) => {
                    accept_failed(&error).await;
                    continue;
                }
            },
        };
        let (service, closing) = (service.clone(), closing.clone());
        connections.spawn(async move {
            connection(stream, service, closing, head_timeout).await;
            drop(permit);
        });
    }
    drop(listener);
    closing.cancel();
    connections.close();
    if tokio::time::timeout(Duration::from_secs(SHUTDOWN_SECONDS_MAX), connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still busy and are dropped");
    }
}

/// A connection that broke before it was accepted is nobody's loss; anything else (no file descriptors left) needs a moment.
async fn accept_failed(error: &std::io::Error) {
    use std::io::ErrorKind::*;
    if !matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn connection(stream: TcpStream, service: axum::Router, closing: CancellationToken, head_timeout: Duration) {
    // Small answers and events must not wait for more bytes; an error here only means that they do.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(service);
    // Boxed, because only a connection whose parts do not care where they are gives its socket back.
    let service = hyper::service::service_fn(move |request| Box::pin(service.call(request)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = closing.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    match ended {
        Ok(()) => linger(connection.into_parts().io.into_inner()).await,
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
}

/// Closes a connection so that its client gets the whole answer. A client that is refused in the middle of an upload goes on
/// sending; to close at once would make the system reset the connection, and the client's system drop the answer unread.
async fn linger(mut stream: TcpStream) {
    let discard = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, there is nothing left to do.
    let _ = tokio::time::timeout(Duration::from_secs(LINGER_SECONDS_MAX), discard).await;
}
