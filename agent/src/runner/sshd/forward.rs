//! Ports and sockets of the job for the client, and of the client for the job.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::incoming::{Backlog, Incoming};
use crate::runner::user::Identity;

const CONNECT: Duration = Duration::from_secs(10);

/// Connects from inside the job.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("{host} is neither an address nor a name in /etc/hosts of the job"),
    );
    for address in addresses(
        host,
        &std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
    ) {
        match tokio::time::timeout(CONNECT, TcpStream::connect((address, port))).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// The binary is linked statically, so name services are out of its reach (see `user`): addresses, localhost, and
/// what `/etc/hosts` has.
fn addresses(host: &str, hosts: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return vec![address];
    }
    if host.eq_ignore_ascii_case("localhost") || host.is_empty() {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    hosts
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

/// Carries bytes both ways until both ends are done.
pub async fn join(
    near: impl AsyncRead + AsyncWrite + Unpin,
    channel: Channel<Msg>,
    backlog: Arc<Backlog>,
) {
    let (mut read, mut write) = tokio::io::split(near);
    let (incoming, outgoing) = channel.split();
    let mut incoming = Incoming::new(incoming, backlog);
    let mut out = outgoing.make_writer();
    let there = async {
        // Either end may break off; that is the other's business.
        let _ = tokio::io::copy(&mut read, &mut out).await;
        let _ = outgoing.eof().await;
    };
    let here = async {
        while let Some(message) = incoming.next().await {
            let gone = match message {
                ChannelMsg::Data { data } => write.write_all(&data).await.is_err(),
                ChannelMsg::Eof => write.shutdown().await.is_err(),
                ChannelMsg::Close => true,
                _ => false,
            };
            if gone {
                return;
            }
        }
    };
    tokio::pin!(there, here);
    tokio::select! {
        // The near end has said everything; the client may still have something to say.
        () = &mut there => here.await,
        () = &mut here => {}
    }
    let _ = outgoing.close().await;
}

/// What a client has asked to be listened for; ends with its connection.
#[derive(Default)]
pub struct Forwards {
    ports: HashMap<(String, u32), JoinHandle<()>>,
    sockets: HashMap<String, JoinHandle<()>>,
}

impl Forwards {
    /// `ssh -R`; answers the port, which the client may have left open.
    pub async fn listen(
        &mut self,
        address: &str,
        port: u32,
        handle: Handle,
        backlog: &Arc<Backlog>,
    ) -> io::Result<u32> {
        let wanted = u16::try_from(port).map_err(|_| io::ErrorKind::InvalidInput)?;
        let ip: IpAddr = match address {
            "" | "*" | "0.0.0.0" => Ipv4Addr::UNSPECIFIED.into(),
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            other => other.parse().map_err(|_| io::ErrorKind::InvalidInput)?,
        };
        let listener = TcpListener::bind((ip, wanted)).await?;
        let port = u32::from(listener.local_addr()?.port());
        let key = (address.to_owned(), port);
        let task = tokio::spawn(accept_tcp(listener, key.clone(), handle, backlog.clone()));
        if let Some(old) = self.ports.insert(key, task) {
            old.abort();
        }
        Ok(port)
    }

    pub fn unlisten(&mut self, address: &str, port: u32) -> bool {
        let task = self.ports.remove(&(address.to_owned(), port));
        task.inspect(JoinHandle::abort).is_some()
    }

    pub fn listen_at(
        &mut self,
        path: &str,
        user: &Identity,
        handle: Handle,
        backlog: &Arc<Backlog>,
    ) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        if user.switch {
            chown(path, Some(user.uid), Some(user.gid))?;
        }
        let task = tokio::spawn(accept_unix(
            listener,
            path.to_owned(),
            handle,
            backlog.clone(),
        ));
        self.sockets.insert(path.to_owned(), task);
        Ok(())
    }

    pub fn unlisten_at(&mut self, path: &str) -> bool {
        let task = self.sockets.remove(path);
        let known = task.inspect(JoinHandle::abort).is_some();
        if known {
            let _ = std::fs::remove_file(path);
        }
        known
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        self.ports.values().for_each(JoinHandle::abort);
        let paths: Vec<String> = self.sockets.keys().cloned().collect();
        for path in paths {
            self.unlisten_at(&path);
        }
    }
}

async fn accept_tcp(
    listener: TcpListener,
    (address, port): (String, u32),
    handle: Handle,
    backlog: Arc<Backlog>,
) {
    while let Ok((stream, from)) = listener.accept().await {
        let (handle, address) = (handle.clone(), address.clone());
        let backlog = backlog.clone();
        tokio::spawn(async move {
            let origin = (from.ip().to_string(), u32::from(from.port()));
            let opened = handle
                .channel_open_forwarded_tcpip(address, port, origin.0, origin.1)
                .await;
            if let Ok(channel) = opened {
                join(stream, channel, backlog).await;
            }
        });
    }
}

async fn accept_unix(listener: UnixListener, path: String, handle: Handle, backlog: Arc<Backlog>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (handle, path) = (handle.clone(), path.clone());
        let backlog = backlog.clone();
        tokio::spawn(async move {
            if let Ok(channel) = handle.channel_open_forwarded_streamlocal(path).await {
                join(stream, channel, backlog).await;
            }
        });
    }
}

/// Connects to a socket of the job's file system.
pub async fn connect_at(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(Path::new(path)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hosts_file_only() {
        let hosts =
            "127.0.0.1 localhost\n10.0.0.7 worker-1 w1 # and so on\n# 10.0.0.8 w2\nfd00::1 w1\n";
        let got = |name: &str| -> Vec<String> {
            addresses(name, hosts)
                .iter()
                .map(IpAddr::to_string)
                .collect()
        };
        assert_eq!(got("10.1.2.3"), ["10.1.2.3"]);
        assert_eq!(got("[::1]"), ["::1"]);
        assert_eq!(got("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(got("W1"), ["10.0.0.7", "fd00::1"]);
        assert!(got("w2").is_empty() && got("example.org").is_empty());
    }
}
