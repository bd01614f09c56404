//! The agent protocol through an SSH connection: a tonic channel whose every connection is a stream to the agent's
//! socket. hyper reads the stream for as long as it is open, so the SSH channel's queue never fills up (an
//! undrained one would block the whole connection).

use super::failure::HostError;
use super::ssh::Session;
use dstack_api::agent::agent_client::AgentClient;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
const WINDOW: u32 = 1 << 20;
/// A chunk of output, an observed set of many jobs.
const MESSAGE: usize = 16 << 20;

/// Opens the first connection at once, so that a missing agent is an error here.
pub async fn agent(
    session: Arc<Session>,
    socket: String,
) -> Result<AgentClient<Channel>, HostError> {
    let first = session.socket(&socket).await?;
    let at = session.at().clone();
    let first = Arc::new(tokio::sync::Mutex::new(Some(first)));
    let connector = service_fn(move |_| {
        let (session, socket, first) = (session.clone(), socket.clone(), first.clone());
        async move {
            let ready = first.lock().await.take();
            let stream = match ready {
                Some(stream) => stream,
                None => session.socket(&socket).await.map_err(io::Error::other)?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://agent")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|e| HostError::Agent {
            at,
            cause: e.to_string(),
        })?;
    Ok(AgentClient::new(channel)
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE))
}
