//! One client: who it is, and what it opens.

use std::path::PathBuf;
use std::sync::Arc;

use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::watch;

use super::activity::Guest;
use super::forward::{self, Forwards};
use super::incoming::{Backlog, SLOWLY};
use super::keys::Authorized;
use super::plan::Plan;
use super::session::{self, Context};
use super::{LOGS_PORT, logs};
use crate::runner::user::Identity;

/// Channels of one connection; a client that wants more is mistaken or malicious.
const CHANNELS: usize = 256;

/// What all clients of one server share.
pub struct House {
    pub authorized: Authorized,
    /// Absent when the job is over: then there is nothing here but its output.
    pub plan: Option<Arc<Plan>>,
    pub spool: PathBuf,
    /// Nothing will be written to the spool any more.
    pub ended: watch::Receiver<bool>,
}

pub struct Connection {
    house: Arc<House>,
    user: Option<Identity>,
    peer: String,
    forwards: Forwards,
    open: Arc<()>,
    backlog: Arc<Backlog>,
    /// Dropped with the connection: sessions notice.
    here: watch::Sender<()>,
    _guest: Guest,
}

impl Connection {
    pub fn new(house: Arc<House>, peer: String, guest: Guest) -> Self {
        Self {
            house,
            user: None,
            peer,
            forwards: Forwards::default(),
            open: Arc::default(),
            backlog: Arc::default(),
            here: watch::Sender::new(()),
            _guest: guest,
        }
    }

    /// The plan, if sockets by path are within reach.
    fn unconfined(&self) -> Option<&Plan> {
        self.house.plan.as_deref().filter(|plan| !plan.confined)
    }

    fn is_full(&self) -> bool {
        Arc::strong_count(&self.open) > CHANNELS
    }
}

fn verdict(admitted: bool) -> Auth {
    if admitted {
        Auth::Accept
    } else {
        Auth::reject()
    }
}

impl Handler for Connection {
    type Error = anyhow::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(verdict(self.house.authorized.admits(offer.public_key)))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let admitted = self.house.authorized.admits(key.public_key);
        if admitted && let Some(plan) = &self.house.plan {
            let root = plan.root.as_ref().filter(|_| user == "root");
            self.user = Some(root.unwrap_or(&plan.user).clone());
        }
        Ok(verdict(admitted))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(plan), Some(user), false) = (&self.house.plan, &self.user, self.is_full()) else {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        };
        reply.accept().await;
        let context = Context {
            handle: session.handle(),
            plan: plan.clone(),
            user: user.clone(),
            peer: self.peer.clone(),
            backlog: self.backlog.clone(),
            connected: self.here.subscribe(),
        };
        let open = self.open.clone();
        tokio::spawn(async move {
            session::run(channel, context).await;
            drop(open);
        });
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.is_full() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let open = self.open.clone();
        if port == LOGS_PORT && matches!(host, "localhost" | "127.0.0.1" | "::1") {
            reply.accept().await;
            let house = self.house.clone();
            tokio::spawn(async move {
                // A client that leaves, or wanted something else, is nobody's failure.
                let _ = logs::serve(channel.into_stream(), &house.spool, house.ended.clone()).await;
                drop(open);
            });
            return Ok(());
        }
        let target = (host.to_owned(), u16::try_from(port));
        let (Some(_), (host, Ok(port))) = (&self.house.plan, target) else {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        };
        let backlog = self.backlog.clone();
        // Connecting takes time, and other channels must not wait for it.
        tokio::spawn(async move {
            match forward::connect(&host, port).await {
                Ok(stream) => {
                    reply.accept().await;
                    forward::join(stream, channel, backlog).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
            drop(open);
        });
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.unconfined().is_none() || self.is_full() {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        }
        let (path, open) = (path.to_owned(), self.open.clone());
        let backlog = self.backlog.clone();
        tokio::spawn(async move {
            match forward::connect_at(&path).await {
                Ok(stream) => {
                    reply.accept().await;
                    forward::join(stream, channel, backlog).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
            drop(open);
        });
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.backlog.window()
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        _data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.backlog.is_long() {
            tokio::time::sleep(SLOWLY).await;
        }
        Ok(())
    }

    async fn agent_request(
        &mut self,
        _channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        // The session opens the socket.
        Ok(self.house.plan.is_some())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if self.house.plan.is_none() {
            return Ok(false);
        }
        match self
            .forwards
            .listen(address, *port, session.handle(), &self.backlog)
            .await
        {
            Ok(bound) => {
                *port = bound;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.forwards.unlisten(address, port))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let user = self.unconfined().and(self.user.clone());
        let Some(user) = user else {
            return Ok(false);
        };
        let listening = self
            .forwards
            .listen_at(path, &user, session.handle(), &self.backlog);
        Ok(listening.is_ok())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.forwards.unlisten_at(path))
    }
}
