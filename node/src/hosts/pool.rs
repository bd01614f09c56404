//! The connections, one per host, shared by whoever has to do with the host.

use super::bring_up;
use super::failure::HostError;
use super::ssh::Session;
use super::target;
use crate::sealing::Sealer;
use crate::view::Views;
use dstack_domain::ids::InstanceId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
struct Slot {
    session: Option<Arc<Session>>,
    /// Where the agent listens on that host, once somebody has looked.
    socket: Option<String>,
}

#[derive(Clone)]
pub struct Pool {
    views: Views,
    sealer: Sealer,
    slots: Arc<Mutex<BTreeMap<InstanceId, Arc<tokio::sync::Mutex<Slot>>>>>,
}

impl Pool {
    pub fn new(views: Views, sealer: Sealer) -> Self {
        Self {
            views,
            sealer,
            slots: Arc::default(),
        }
    }

    fn slot(&self, instance: InstanceId) -> Arc<tokio::sync::Mutex<Slot>> {
        self.slots.lock().entry(instance).or_default().clone()
    }

    /// The connection to the host, made now if there is none.
    pub async fn session(&self, id: InstanceId) -> Result<Arc<Session>, HostError> {
        let slot = self.slot(id);
        let mut slot = slot.lock().await;
        self.connected(id, &mut slot).await
    }

    async fn connected(&self, id: InstanceId, slot: &mut Slot) -> Result<Arc<Session>, HostError> {
        if let Some(session) = slot.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        slot.session = None;
        let target = {
            let view = self.views.now();
            let instance = view.state.instance(id).ok_or(HostError::Gone)?;
            target::target(&view.state, instance, &self.sealer)?
        };
        let session = Arc::new(Session::connect(&target).await?);
        slot.session = Some(session.clone());
        Ok(session)
    }

    /// The connection, and the path of the agent's socket on the host.
    pub async fn agent(&self, id: InstanceId) -> Result<(Arc<Session>, String), HostError> {
        let slot = self.slot(id);
        let mut slot = slot.lock().await;
        let session = self.connected(id, &mut slot).await?;
        if let Some(socket) = &slot.socket {
            return Ok((session, socket.clone()));
        }
        let env = {
            let view = self.views.now();
            let instance = view.state.instance(id).ok_or(HostError::Gone)?;
            target::fleet_env(&view.state, instance)
        };
        let (_, plan) = bring_up::look(&session, &env).await?;
        slot.socket = Some(plan.socket());
        Ok((session, plan.socket()))
    }

    /// Somebody has just seen where the agent listens.
    pub async fn note_socket(&self, id: InstanceId, socket: String) {
        self.slot(id).lock().await.socket = Some(socket);
    }

    /// Gives up a connection that turned out to be of no use; the next one who needs the host makes another.
    /// It is not closed here, because somebody else may be at work on it: it ends with its last user.
    pub async fn drop_session(&self, id: InstanceId, session: &Arc<Session>) {
        let slot = self.slot(id);
        let mut slot = slot.lock().await;
        if slot
            .session
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, session))
        {
            slot.session = None;
        }
    }

    pub fn forget(&self, id: InstanceId) {
        let slot = self.slots.lock().remove(&id);
        close(slot.into_iter().collect());
    }

    /// For a replica that no longer leads.
    pub fn clear(&self) {
        let slots = std::mem::take(&mut *self.slots.lock());
        close(slots.into_values().collect());
    }
}

fn close(slots: Vec<Arc<tokio::sync::Mutex<Slot>>>) {
    for slot in slots {
        tokio::spawn(async move {
            if let Some(session) = slot.lock().await.session.take() {
                session.close().await;
            }
        });
    }
}
