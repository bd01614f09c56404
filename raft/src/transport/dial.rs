//! Connects to peers. Each channel is one HTTP/2 connection that is made when it is first used and
//! made again when it broke; what must not wait for something else gets a channel of its own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::MAX_MESSAGE;
use crate::proto::peer_client::PeerClient;

const CONNECT: Duration = Duration::from_secs(1);
/// A peer that is silent this long, though probed, is taken for dead and dialled again.
const PROBE: Duration = Duration::from_secs(1);
const PROBE_ANSWER: Duration = Duration::from_secs(2);

pub struct Dialer {
    tls: Arc<ClientConfig>,
    overrides: BTreeMap<String, String>,
}

impl Dialer {
    pub fn new(tls: Arc<ClientConfig>, overrides: BTreeMap<String, String>) -> Self {
        Dialer { tls, overrides }
    }

    /// A client on a connection of its own to the peer of that name.
    pub fn client(&self, name: &str, addr: &str) -> PeerClient<Channel> {
        let addr = self
            .overrides
            .get(name)
            .cloned()
            .unwrap_or_else(|| addr.to_owned());
        let (tls, name) = (self.tls.clone(), name.to_owned());
        let connect = tower::service_fn(move |_: Uri| {
            let (tls, name, addr) = (tls.clone(), name.clone(), addr.clone());
            async move { connect(tls, name, &addr).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://peer")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(PROBE_ANSWER)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024)
            .connect_with_connector_lazy(connect);
        PeerClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

/// The handshake fails unless the other end shows a certificate for exactly this name.
async fn connect(
    tls: Arc<ClientConfig>,
    name: String,
    addr: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let server = ServerName::try_from(name).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(addr).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(tls).connect(server, tcp).await
}
