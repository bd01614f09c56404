//! One link: a server's orders down, what is and what was written up.

use std::sync::Arc;
use std::time::Duration;

use dstack_api::agent::{Desired, Down, Observed, Pong, Refused, Up, down, up};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use super::observed::Snapshot;
use super::pump::Pump;
use super::reconciler::{ActiveLink, Handles, Message};
use crate::ledger::Refusal;

/// How often spools are looked at for new output.
const LOOK: Duration = Duration::from_millis(100);

pub struct Link {
    id: u64,
    handles: Handles,
    up: mpsc::Sender<Result<Up, Status>>,
    pump: Pump,
    active: bool,
    sent: Option<Observed>,
}

/// The link is over; the string is for the server.
struct Closed(Option<Refused>);

impl Link {
    pub fn new(id: u64, handles: Handles, up: mpsc::Sender<Result<Up, Status>>) -> Self {
        Self {
            id,
            handles,
            up,
            pump: Pump::default(),
            active: false,
            sent: None,
        }
    }

    /// Serves the link until either side ends it.
    pub async fn run(mut self, mut inbound: Streaming<Down>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut published = self.handles.published.clone();
        let mut active = self.handles.active.clone();
        let end = loop {
            let snapshot = published.borrow_and_update().clone();
            let step = match self.tell(&snapshot).await {
                Ok(()) => tokio::select! {
                    message = inbound.message() => match message {
                        Ok(Some(down)) => self.receive(down, &snapshot).await,
                        Ok(None) | Err(_) => Err(Closed(None)),
                    },
                    changed = published.changed() => changed.map_err(|_| Closed(None)),
                    changed = active.changed() => {
                        changed.map_err(|_| Closed(None)).and_then(|()| self.replaced(*active.borrow_and_update()))
                    }
                    _ = look.tick() => Ok(()),
                },
                Err(closed) => Err(closed),
            };
            match step {
                Ok(()) => self.pump(&snapshot),
                Err(end) => break end,
            }
        };
        if let Closed(Some(refused)) = end {
            let _ = self.send(up::Kind::Refused(refused)).await;
        }
    }

    async fn tell(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Closed> {
        if self.sent.as_ref() != Some(&snapshot.observed) {
            self.send(up::Kind::Observed(snapshot.observed.clone()))
                .await?;
            self.sent = Some(snapshot.observed.clone());
        }
        Ok(())
    }

    async fn receive(&mut self, down: Down, snapshot: &Snapshot) -> Result<(), Closed> {
        match down.kind {
            Some(down::Kind::Desired(desired)) => self.desired(desired).await,
            Some(down::Kind::Ack(ack)) => {
                self.pump.ack(&ack, snapshot);
                Ok(())
            }
            Some(down::Kind::Ping(ping)) => {
                self.send(up::Kind::Pong(Pong { nonce: ping.nonce })).await
            }
            None => Ok(()), // of a newer server
        }
    }

    async fn desired(&mut self, desired: Desired) -> Result<(), Closed> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Desired {
            link: self.id,
            desired,
            reply,
        };
        self.handles
            .inbox
            .send(message)
            .await
            .map_err(|_| Closed(None))?;
        match answer.await {
            Ok(Ok(())) => {
                self.active = true;
                self.pump.activate();
                Ok(())
            }
            Ok(Err(refusal)) => Err(Closed(Some(refused(&refusal)))),
            Err(_) => Err(Closed(None)),
        }
    }

    fn replaced(&self, active: Option<ActiveLink>) -> Result<(), Closed> {
        match active {
            Some(newer) if self.active && newer.link != self.id => Err(Closed(Some(Refused {
                epoch_seen: newer.epoch,
                why: "a newer link has replaced this one".into(),
            }))),
            _ => Ok(()),
        }
    }

    /// Sends what fits; a server that does not read is not waited for.
    fn pump(&mut self, snapshot: &Snapshot) {
        while let Ok(room) = self.up.clone().try_reserve_owned() {
            let Some(chunk) = self.pump.next(snapshot) else {
                return;
            };
            room.send(Ok(Up {
                kind: Some(up::Kind::Logs(chunk)),
            }));
        }
    }

    async fn send(&self, kind: up::Kind) -> Result<(), Closed> {
        self.up
            .send(Ok(Up { kind: Some(kind) }))
            .await
            .map_err(|_| Closed(None))
    }
}

fn refused(refusal: &Refusal) -> Refused {
    let epoch_seen = match refusal {
        Refusal::OldEpoch { seen, .. } => *seen,
        Refusal::OldGeneration { epoch, .. } => *epoch,
        Refusal::OtherCluster { .. } | Refusal::Disk(_) => 0,
    };
    Refused {
        epoch_seen,
        why: refusal.to_string(),
    }
}
