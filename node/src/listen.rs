//! Serves the HTTP API on a socket: keep-alive, limits on what an unknown client may cost, and an end that
//! lets open requests finish.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::failure::{Failure, Kind};
use crate::limits;

const BACKLOG: u32 = 1024;
/// When accepting fails because the process has no more file descriptors, others must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the server is told to end, in two steps: first clients are asked to come back on another connection,
/// so that none is surprised by a closed one; then connections end with their current request.
#[derive(Clone, Default)]
pub struct Closing {
    pub leaving: CancellationToken,
    pub closed: CancellationToken,
}

/// Takes the address for the API. Early, so that a port in use is told before anything else happens.
pub fn bind(host: &str, port: u16) -> Result<TcpListener, Failure> {
    let failed = |source: io::Error| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there, perhaps another dstack server: \
                 stop it, or choose another port with --port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need privileges: choose another with --port"
            }
            _ => "choose an address of this machine with --host, for example --host 0.0.0.0",
        };
        Failure::new(Kind::Address, format!("cannot listen on {host}:{port}"))
            .source(source)
            .hint(hint)
    };
    let addr = resolve(host, port).map_err(failed)?;
    listen(addr).map_err(failed)
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("the host name has no address"))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A replica that starts again must not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Serves until `closing`, then waits for open requests.
pub async fn serve(listener: TcpListener, router: Router, closing: Closing) {
    let open = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Runs from the end of one request to the head of the next: the idle time of a connection, too.
        .header_read_timeout(limits::HTTP_KEEP_ALIVE)
        .max_buf_size(limits::HTTP_HEADER_BYTES)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::HTTP_HEADER_TIME)
        .max_concurrent_streams(256);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.closed.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => spawn_connection(&builder, &open, stream, &router, &closing),
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits::DRAIN, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

fn spawn_connection(
    builder: &auto::Builder<TokioExecutor>,
    open: &GracefulShutdown,
    stream: TcpStream,
    router: &Router,
    closing: &Closing,
) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let leaving = closing.leaving.clone();
    let service = router
        .clone()
        .map_request(|request: Request<Incoming>| request.map(Body::new));
    let service = service.map_response(move |response| mark(response, &leaving));
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let watched = open.watch(connection.into_owned());
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(error = %error, "a connection ended early");
        }
    });
}

/// Asks the client to open a new connection for its next request.
fn mark(mut response: Response<Body>, leaving: &CancellationToken) -> Response<Body> {
    if leaving.is_cancelled() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_what_to_do() {
        let first = bind("127.0.0.1", 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let failure = bind("127.0.0.1", port).unwrap_err();
        assert_eq!(failure.kind, Kind::Address);
        assert!(failure.report().contains("--port"), "{}", failure.report());
    }

    #[tokio::test]
    async fn an_unknown_host_is_told() {
        let failure = bind("no-such-host.invalid", 1).unwrap_err();
        assert!(failure.report().contains("no-such-host.invalid"));
    }
}
