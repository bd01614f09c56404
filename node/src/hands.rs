//! The hands of the leader, and the bulk stores every replica has: one door for the rest of the process.
//!
//! A replica that does not lead keeps its hands still; its stores of output and archives serve all the same.

use crate::act::Actions;
use crate::bulk::Bulk;
use crate::clouds::Clouds;
use crate::door::Door;
use crate::hosts::binary::AgentBinary;
use crate::hosts::links::Links;
use crate::hosts::pool::Pool;
use crate::hosts::tools::Tools;
use crate::liveness::{self, Liveness};
use crate::logs::LogStore;
use crate::mesh::PeerMesh;
use crate::retention;
use crate::sealing::Sealer;
use crate::sweep;
use crate::view::Views;
use dstack_domain::decide::DesiredSet;
use dstack_domain::facts::{AgentFact, CloudOffers};
use dstack_domain::ids::{InstanceId, ProjectId, SubmissionId};
use dstack_domain::state::State;
use dstack_domain::step::{Action, ActionKey};
use dstack_raft::Handle;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// What the hands are given.
pub struct Deps {
    pub raft: Handle,
    pub door: Door,
    pub views: Views,
    pub sealer: Sealer,
    pub clouds: Clouds,
    /// The replica's data folder; `logs/` and `archives/` are made in it.
    pub data: PathBuf,
    /// How long an event is kept.
    pub events_kept: Duration,
    /// What [`crate::hosts::binary::VARIABLE`] says.
    pub agent_binary: Option<PathBuf>,
}

pub struct Hands {
    /// Something happened that the leader's loop may want to look at. Carries no data.
    pub wake: Arc<Notify>,
    tools: Arc<Tools>,
    links: Links,
    actions: Actions,
    _tasks: [AbortOnDropHandle<()>; 4],
}

impl Hands {
    /// Opens the stores, answers the other replicas' questions about them, and waits for work.
    pub fn start(deps: Deps) -> io::Result<Arc<Hands>> {
        for folder in ["logs", "archives"] {
            std::fs::create_dir_all(deps.data.join(folder))?;
        }
        let mesh = PeerMesh::new(deps.raft.clone());
        let logs = LogStore::open(&deps.data, mesh.clone());
        let bulk = Bulk::open(&deps.data, mesh.clone());
        let liveness = Liveness::default();
        mesh.register(LogStore::SERVICE, logs.service());
        mesh.register(Bulk::SERVICE, bulk.service());
        mesh.register(liveness::SERVICE, liveness.service());
        let wake = Arc::new(Notify::new());
        let tools = Arc::new(Tools {
            door: deps.door,
            views: deps.views.clone(),
            logs,
            bulk,
            liveness: liveness.clone(),
            pool: Pool::new(deps.views, deps.sealer.clone()),
            sealer: deps.sealer,
            clouds: deps.clouds,
            binary: AgentBinary::locate(deps.agent_binary),
            wake: wake.clone(),
        });
        let leadership = deps.raft.leadership();
        let leads = move || {
            let now = leadership.borrow();
            now.leader == Some(now.me)
        };
        let leadership = deps.raft.leadership();
        let term = move || {
            let now = leadership.borrow();
            (now.established && now.leader == Some(now.me)).then_some(now.term)
        };
        let tasks = [
            tokio::spawn(sweep::sweep(tools.clone(), term)),
            tokio::spawn(liveness.share(mesh, leads)),
            tokio::spawn(retention::sweep_files(
                tools.views.clone(),
                tools.logs.clone(),
                tools.bulk.clone(),
            )),
            tokio::spawn(retention::expire_events(
                deps.raft,
                tools.door.clone(),
                tools.views.clone(),
                deps.events_kept,
            )),
        ];
        let _tasks = tasks.map(AbortOnDropHandle::new);
        Ok(Arc::new(Hands {
            wake,
            tools,
            links: Links::default(),
            actions: Actions::default(),
            _tasks,
        }))
    }

    pub fn logs(&self) -> Arc<LogStore> {
        self.tools.logs.clone()
    }

    pub fn bulk(&self) -> Arc<Bulk> {
        self.tools.bulk.clone()
    }

    /// Starts an action, unless one with the same key is under way.
    pub fn run_action(&self, action: Action, term: u64) {
        self.actions.run(&self.tools, action, term);
    }

    /// What every agent is to have, all of it.
    pub fn set_desired(&self, term: u64, sets: BTreeMap<InstanceId, DesiredSet>) {
        self.links.set_desired(&self.tools, term, sets);
    }

    pub fn facts(&self) -> BTreeMap<InstanceId, AgentFact> {
        self.links.facts(&self.tools)
    }

    /// What the clouds of each project offered lately.
    pub fn offers(&self, state: &State) -> BTreeMap<ProjectId, Arc<CloudOffers>> {
        self.tools.clouds.known_offers(state)
    }

    pub fn in_flight(&self) -> BTreeSet<ActionKey> {
        self.actions.in_flight()
    }

    /// Exited jobs whose output a majority has to its end.
    pub fn drained(&self) -> BTreeSet<SubmissionId> {
        self.links.drained()
    }

    /// The term is over: links and actions end at once, jobs go on.
    pub async fn stop(&self, term: u64) {
        self.links.stop(term);
        self.actions.stop(term);
        self.tools.pool.clear();
    }

    /// The process ends.
    pub async fn shutdown(&self) {
        self.stop(u64::MAX).await;
    }
}
