//! Watches the core for who leads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, ServerState};
use tokio::sync::watch;

use crate::NodeId;
use crate::machine_store::Progress;
use crate::types::{Metrics, Raft};

/// Who leads, as far as this replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub me: NodeId,
    /// Unix milliseconds at which this replica first saw this leader in this term.
    pub since_ms: u64,
    /// This replica leads, the first entry of its own term is applied, and a majority has answered
    /// lately: it may act. `term` is the fence for what it proposes.
    pub established: bool,
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// Keeps `tx` true until the core ends. `lease` is how old the last answer of a majority may be.
pub async fn watch(raft: Raft, progress: Progress, tx: watch::Sender<Leadership>, lease: Duration) {
    let mut metrics = raft.metrics();
    let mut applied = progress.applied();
    loop {
        let seen = metrics.borrow_watched().clone();
        let next = judge(&seen, progress.applied_term(), lease);
        tx.send_if_modified(|current| update(current, next));
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            _ = applied.changed() => {},
            // An isolated leader hears nothing: time alone ends its claim.
            () = tokio::time::sleep(lease) => {},
            () = tx.closed() => return,
        }
    }
}

fn judge(m: &Metrics, applied_term: u64, lease: Duration) -> Leadership {
    let leads = m.state == ServerState::Leader && m.current_leader == Some(m.id);
    let alone = m.membership_config.voter_ids().count() <= 1;
    let heard = alone || m.last_quorum_acked.is_some_and(|at| at.elapsed() < lease);
    Leadership {
        term: m.current_term,
        leader: m.current_leader.filter(|_| !leads || heard),
        me: m.id,
        since_ms: 0,
        established: leads && heard && applied_term == m.current_term,
    }
}

fn update(current: &mut Leadership, mut next: Leadership) -> bool {
    let same = current.term == next.term && current.leader == next.leader && current.since_ms != 0;
    next.since_ms = if same { current.since_ms } else { now_ms() };
    let modified = *current != next;
    *current = next;
    modified
}
