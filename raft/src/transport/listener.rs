//! Accepts peers. Who has no certificate of the cluster's authority does not get past the handshake.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::tls::Subject;

const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection whose other end has proved its name.
pub struct PeerStream {
    inner: TlsStream<TcpStream>,
    subject: Subject,
}

impl Connected for PeerStream {
    type ConnectInfo = Subject;

    fn connect_info(&self) -> Subject {
        self.subject.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Task<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Handshakes run beside each other, so a silent stranger delays nobody.
pub fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<PeerStream>> {
    let (tx, rx) = mpsc::channel(16);
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tx.closed() => return,
            };
            match accepted {
                Ok((tcp, from)) => {
                    tokio::spawn(greet(acceptor.clone(), tcp, from, tx.clone()));
                }
                Err(e) => {
                    // Out of descriptors, most likely: give others time to close theirs.
                    tracing::warn!(error = %e, "cannot accept a peer connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    ReceiverStream::new(rx)
}

async fn greet(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    from: SocketAddr,
    tx: mpsc::Sender<io::Result<PeerStream>>,
) {
    match tokio::time::timeout(HANDSHAKE, handshake(acceptor, tcp)).await {
        Ok(Ok(stream)) => {
            // Not delivered only when the server is shutting down.
            let _ = tx.send(Ok(stream)).await;
        }
        Ok(Err(e)) => tracing::info!(%from, error = %e, "refused a connection on the peer port"),
        Err(_) => {
            tracing::info!(%from, "a connection on the peer port did not finish its handshake")
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<PeerStream> {
    tcp.set_nodelay(true)?;
    let inner = acceptor.accept(tcp).await?;
    let certs = inner.get_ref().1.peer_certificates();
    let cert = certs
        .and_then(|certs| certs.first())
        .ok_or_else(|| io::Error::other("no certificate was shown"))?;
    let subject = Subject::of(cert).map_err(io::Error::other)?;
    Ok(PeerStream { inner, subject })
}
