//! One multiplexed SSH connection to a host, through a proxy jump when there is one.

use super::failure::{Address, HostError};
use russh::client::{self, Config, Handle, Handler, Msg};
use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate,
};
use russh::{ChannelMsg, ChannelStream};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

const CONNECT: Duration = Duration::from_secs(10);
/// Version, key exchange, authentication.
const HANDSHAKE: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVES: usize = 3;
/// A channel's window, also for agents with much output behind a long link.
const WINDOW: u32 = 4 << 20;
/// Commands at once on one connection; sshd allows 10 sessions by default.
const COMMANDS: usize = 4;
/// What is kept of a command's output; more is read and dropped.
const OUTPUT: usize = 1 << 20;

/// Where to log in and how.
#[derive(Clone)]
pub struct Target {
    pub at: Address,
    /// A private key in OpenSSH or PEM form.
    pub key: Option<Arc<Zeroizing<String>>>,
    /// The host key recorded when the host was first seen, in OpenSSH form. None accepts any.
    pub host_key: Option<String>,
    pub proxy: Option<Box<Target>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("at", &self.at.to_string())
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

/// A connection, logged in.
pub struct Session {
    handle: Handle<Doorkeeper>,
    at: Address,
    host_key: String,
    commands: Semaphore,
    /// The connection this one runs through.
    _proxy: Option<Box<Session>>,
}

/// What a command did.
#[derive(Debug, Default)]
pub struct Output {
    pub status: Option<u32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Looks at the host key. Nothing else the server sends unasked is of interest.
struct Doorkeeper {
    expected: Option<PublicKey>,
    shown: Arc<OnceLock<PublicKey>>,
}

impl Handler for Doorkeeper {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        // Certificates are not asked for, so none may be offered.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        let known = self.shown.get_or_init(|| key.clone());
        let same = known.key_data() == key.key_data();
        Ok(same
            && self
                .expected
                .as_ref()
                .is_none_or(|expected| expected.key_data() == key.key_data()))
    }
}

impl Session {
    pub async fn connect(target: &Target) -> Result<Self, HostError> {
        match &target.proxy {
            None => {
                let stream = dial(&target.at).await?;
                log_in(target, stream, None).await
            }
            Some(proxy) => {
                // Boxed: the future of a jump contains the future of a login.
                let outer = Box::pin(Self::connect(proxy))
                    .await
                    .map_err(|e| HostError::Proxy(Box::new(e)))?;
                let stream = outer.jump(&target.at).await?;
                log_in(target, stream, Some(Box::new(outer))).await
            }
        }
    }

    pub fn at(&self) -> &Address {
        &self.at
    }

    /// The key the host showed, in OpenSSH form.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    pub async fn close(&self) {
        let _ = self
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "en")
            .await;
    }

    async fn jump(&self, to: &Address) -> Result<ChannelStream<Msg>, HostError> {
        let opened =
            self.handle
                .channel_open_direct_tcpip(&*to.hostname, to.port.into(), "127.0.0.1", 0);
        match timeout(CONNECT, opened).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(cause)) => Err(HostError::Jump {
                proxy: self.at.clone(),
                hostname: to.hostname.clone(),
                port: to.port,
                cause: channel_failure(&cause),
            }),
            Err(_) => Err(HostError::TimedOut {
                at: to.clone(),
                seconds: CONNECT.as_secs(),
            }),
        }
    }

    /// A byte stream to a unix socket of the host.
    pub async fn socket(&self, path: &str) -> Result<ChannelStream<Msg>, HostError> {
        let socket = |cause| HostError::Socket {
            at: self.at.clone(),
            cause,
        };
        match timeout(CONNECT, self.handle.channel_open_direct_streamlocal(path)).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::SendError)) => Err(self.lost("it was closed")),
            Ok(Err(cause)) => Err(socket(channel_failure(&cause))),
            Err(_) => Err(socket("no answer".into())),
        }
    }

    fn lost(&self, cause: impl fmt::Display) -> HostError {
        HostError::Lost {
            at: self.at.clone(),
            cause: cause.to_string(),
        }
    }

    /// Runs a command line in the login shell, with `input` as its standard input.
    pub async fn run(
        &self,
        command: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, HostError> {
        let work = async {
            let _place = self.commands.acquire().await.map_err(|e| self.lost(e))?;
            let channel = self
                .handle
                .channel_open_session()
                .await
                .map_err(|e| self.lost(channel_failure(&e)))?;
            let (mut read, write) = channel.split();
            write.exec(true, command).await.map_err(|e| self.lost(e))?;
            let mut writer = write.make_writer();
            let feed = async {
                // A command that ends without reading everything is judged by its exit status.
                if writer.write_all(input).await.is_ok() {
                    let _ = write.eof().await;
                }
                std::future::pending::<()>().await;
            };
            let mut output = Output::default();
            let collect = async {
                while let Some(message) = read.wait().await {
                    match message {
                        ChannelMsg::Data { data } => keep(&mut output.stdout, &data),
                        ChannelMsg::ExtendedData { data, .. } => keep(&mut output.stderr, &data),
                        ChannelMsg::ExitStatus { exit_status } => output.status = Some(exit_status),
                        ChannelMsg::Failure => {
                            return Err(self.lost("it does not let us run commands"));
                        }
                        ChannelMsg::Close => return Ok(()),
                        _ => {}
                    }
                }
                Err(self.lost("it closed in the middle of a command"))
            };
            tokio::select! {
                collected = collect => collected?,
                () = feed => {}
            }
            Ok(output)
        };
        match timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(self.lost(format_args!(
                "a command took longer than {} s",
                limit.as_secs()
            ))),
        }
    }
}

fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    let room = OUTPUT.saturating_sub(kept.len());
    kept.extend_from_slice(&data[..data.len().min(room)]);
}

async fn dial(at: &Address) -> Result<TcpStream, HostError> {
    let dns = |cause: String| HostError::Dns {
        hostname: at.hostname.clone(),
        cause,
    };
    let found = timeout(CONNECT, tokio::net::lookup_host((&*at.hostname, at.port)))
        .await
        .map_err(|_| dns("no answer from DNS".into()))?
        .map_err(|e| dns(e.to_string()))?;
    let mut last = None;
    for address in found {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(classify(at, &error)),
            Err(_) => {
                last = Some(HostError::TimedOut {
                    at: at.clone(),
                    seconds: CONNECT.as_secs(),
                })
            }
        }
    }
    Err(last.unwrap_or_else(|| dns("it has no address".into())))
}

fn classify(at: &Address, error: &io::Error) -> HostError {
    let at = at.clone();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => HostError::Refused { at },
        io::ErrorKind::TimedOut => HostError::TimedOut {
            at,
            seconds: CONNECT.as_secs(),
        },
        _ => HostError::Unreachable {
            at,
            cause: error.to_string(),
        },
    }
}

fn config(expected: Option<&PublicKey>) -> Config {
    let mut config = Config {
        window_size: WINDOW,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        ..Config::default()
    };
    if let Some(expected) = expected {
        // The kind of key that is on record first, or a host with several would seem to have changed.
        let recorded = |algorithm: &Algorithm| match (algorithm, expected.algorithm()) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (one, other) => *one == other,
        };
        let mut keys = config.preferred.key.to_vec();
        keys.sort_by_key(|algorithm| !recorded(algorithm));
        config.preferred.key = Cow::Owned(keys);
    }
    config
}

async fn log_in<S>(
    target: &Target,
    stream: S,
    proxy: Option<Box<Session>>,
) -> Result<Session, HostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match timeout(HANDSHAKE, shake_hands(target, stream, proxy)).await {
        Ok(done) => done,
        Err(_) => Err(HostError::TimedOut {
            at: target.at.clone(),
            seconds: HANDSHAKE.as_secs(),
        }),
    }
}

async fn shake_hands<S>(
    target: &Target,
    stream: S,
    proxy: Option<Box<Session>>,
) -> Result<Session, HostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let at = &target.at;
    let key = private_key(target)?;
    let expected = match &target.host_key {
        Some(text) => Some(
            PublicKey::from_openssh(text).map_err(|e| HostError::Handshake {
                at: at.clone(),
                cause: format!("its recorded host key is unreadable: {e}"),
            })?,
        ),
        None => None,
    };
    let shown = Arc::new(OnceLock::new());
    let doorkeeper = Doorkeeper {
        expected: expected.clone(),
        shown: shown.clone(),
    };
    let config = Arc::new(config(expected.as_ref()));
    let connected = client::connect_stream(config, stream, doorkeeper).await;
    let mut handle = connected.map_err(|error| match (&error, &expected, shown.get()) {
        (russh::Error::UnknownKey, Some(expected), Some(found)) => HostError::HostKeyChanged {
            at: at.clone(),
            expected: fingerprint(expected),
            found: fingerprint(found),
        },
        _ => HostError::Handshake {
            at: at.clone(),
            cause: error.to_string(),
        },
    })?;
    authenticate(&mut handle, at, key).await?;
    let host_key = shown
        .get()
        .and_then(|key| key.to_openssh().ok())
        .unwrap_or_default();
    Ok(Session {
        handle,
        at: at.clone(),
        host_key,
        commands: Semaphore::new(COMMANDS),
        _proxy: proxy,
    })
}

fn private_key(target: &Target) -> Result<PrivateKey, HostError> {
    let Some(text) = &target.key else {
        return Err(HostError::NoKey {
            at: target.at.clone(),
        });
    };
    russh::keys::decode_secret_key(text, None).map_err(|e| HostError::BadKey {
        at: target.at.clone(),
        cause: e.to_string(),
    })
}

async fn authenticate(
    handle: &mut Handle<Doorkeeper>,
    at: &Address,
    key: PrivateKey,
) -> Result<(), HostError> {
    let handshake = |cause: russh::Error| HostError::Handshake {
        at: at.clone(),
        cause: cause.to_string(),
    };
    let fingerprint = fingerprint(key.public_key());
    let hash = match key.algorithm().is_rsa() {
        true => handle
            .best_supported_rsa_hash()
            .await
            .map_err(handshake)?
            .unwrap_or(Some(HashAlg::Sha256)),
        false => None,
    };
    let signed = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    let answer = handle.authenticate_publickey(&at.user, signed).await;
    match answer {
        Ok(answer) if answer.success() => Ok(()),
        // sshd hangs up after too many attempts, or at once on a user it does not let in.
        Ok(_) | Err(russh::Error::Disconnect | russh::Error::HUP) => Err(HostError::Auth {
            at: at.clone(),
            fingerprint,
        }),
        Err(error) => Err(handshake(error)),
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn channel_failure(error: &russh::Error) -> String {
    use russh::ChannelOpenFailure::{AdministrativelyProhibited, ConnectFailed};
    match error {
        russh::Error::ChannelOpenFailure(AdministrativelyProhibited) => {
            "its configuration forbids it".into()
        }
        russh::Error::ChannelOpenFailure(ConnectFailed) => "nobody listens there".into(),
        other => other.to_string(),
    }
}
