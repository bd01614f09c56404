//! The job's output as the client reads it while attached: a websocket at `/logs_ws`, bytes in binary messages,
//! from the beginning or from `start_time`, closed when there is no more to come.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use dstack_api::agent::stream;
use dstack_api::frames::Frames;
use futures::{FutureExt, SinkExt, StreamExt};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::spool::SpoolReader;

const PATH: &str = "/logs_ws";
const PIECE: usize = 256 * 1024;
/// How often the spool is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A client that does not say goodbye is left.
const GOODBYE: Duration = Duration::from_secs(2);

// The size of the refusal is the library's.
#[allow(clippy::result_large_err)]
/// Serves one client to the end of the output. `ended`: nothing will be written any more.
pub async fn serve<S>(
    stream: S,
    spool: &Path,
    mut ended: watch::Receiver<bool>,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut since = i64::MIN;
    let socket = tokio_tungstenite::accept_hdr_async(stream, |request: &Request, response| {
        welcome(request, response, &mut since)
    })
    .await
    .context("no websocket was asked for")?;
    let (mut out, mut incoming) = socket.split();
    let mut reader = SpoolReader::at(spool, stream::JOB, 0);
    loop {
        // Looked at before the spool, or the last words would be missed.
        let over = *ended.borrow_and_update();
        let (_, frames) = reader.next_chunk(PIECE)?;
        if !frames.is_empty() {
            let text = payloads(&frames, since);
            if !text.is_empty() {
                out.send(Message::binary(text)).await?;
            }
            if incoming.next().now_or_never().is_some_and(is_over) {
                return Ok(());
            }
            continue;
        }
        if over {
            break;
        }
        tokio::select! {
            message = incoming.next() => if is_over(message) { return Ok(()) },
            _ = ended.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    out.send(Message::Close(None)).await?;
    let farewell = async { while !is_over(incoming.next().await) {} };
    let _ = tokio::time::timeout(GOODBYE, farewell).await;
    Ok(())
}

type Incoming = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

fn is_over(message: Incoming) -> bool {
    !matches!(message, Some(Ok(message)) if !message.is_close())
}

// The error's type, and with it its size, is the library's.
#[allow(clippy::result_large_err)]
fn welcome(
    request: &Request,
    response: Response,
    since: &mut i64,
) -> Result<Response, ErrorResponse> {
    match asked_for(request.uri().path(), request.uri().query()) {
        Ok(from) => {
            *since = from;
            Ok(response)
        }
        Err(error) => {
            let mut refusal = ErrorResponse::new(Some(error.to_string()));
            *refusal.status_mut() = StatusCode::NOT_FOUND;
            Err(refusal)
        }
    }
}

/// Microseconds since 1970 from which output is wanted.
fn asked_for(path: &str, query: Option<&str>) -> anyhow::Result<i64> {
    if path != PATH {
        bail!("there is only {PATH} here");
    }
    let start = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("start_time="));
    let Some(start) = start else {
        return Ok(i64::MIN);
    };
    let text = unescaped(start);
    let moment: Timestamp = text
        .parse()
        .with_context(|| format!("start_time is no time with a zone: {text}"))?;
    Ok(moment.as_microsecond())
}

/// Undoes `%3A` and the like. A plus is a plus: zones begin with it, and clients that mean it escape it.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn payloads(frames: &[u8], since: i64) -> Vec<u8> {
    Frames::new(frames)
        .map_while(Result::ok)
        .filter(|frame| frame.micros >= since)
        .flat_map(|frame| frame.payload.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_as_clients_write_it() {
        let micros = 1_700_000_000_000_000;
        for query in [
            "start_time=2023-11-14T22%3A13%3A20%2B00%3A00",
            "x=1&start_time=2023-11-14T22:13:20Z",
            "start_time=2023-11-14T22:13:20.000000+00:00",
        ] {
            assert_eq!(asked_for(PATH, Some(query)).unwrap(), micros, "{query}");
        }
        assert_eq!(asked_for(PATH, None).unwrap(), i64::MIN);
        assert!(asked_for("/other", None).is_err());
        assert!(asked_for(PATH, Some("start_time=now%")).is_err());
    }
}
