//! What an agent reported, told to the records. Compared with the newest view again whenever either changes, so
//! that a report that was too early or could not be recorded is not lost.

use super::tools::{Told, Tools};
use crate::env;
use dstack_domain::command::{Command, JobObservation, RecordJob};
use dstack_domain::decide::{ObservedJob, ObservedJobs, ObservedPhase, observe};
use dstack_domain::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Views may change a hundred times a second; a link looks at most so often.
const LOOK: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);

pub async fn run(
    tools: Arc<Tools>,
    instance: InstanceId,
    term: u64,
    mut reported: watch::Receiver<Option<ObservedJobs>>,
) {
    let mut changed = tools.views.changed();
    loop {
        changed.mark_unchanged();
        let observed = reported.borrow_and_update().clone();
        let told = match observed {
            Some(observed) => tell(&tools, instance, term, &observed).await,
            None => Told::Applied,
        };
        match told {
            Told::Over => return,
            Told::NotNow => tokio::time::sleep(AGAIN).await,
            Told::Applied | Told::Refused => {
                tokio::select! {
                    more = reported.changed() => if more.is_err() { return },
                    more = changed.changed() => if more.is_err() { return } else { tokio::time::sleep(LOOK).await },
                }
            }
        }
    }
}

async fn tell(tools: &Tools, instance: InstanceId, term: u64, observed: &ObservedJobs) -> Told {
    let commands: Vec<Command> = {
        let view = tools.views.now();
        observe(&view.state, instance, observed, env::now())
    };
    for command in commands {
        match tools.tell(term, command).await {
            Told::Applied | Told::Refused => {}
            other => return other,
        }
    }
    Told::Applied
}

/// For what the hands themselves know of a job.
pub async fn tell_one(tools: &Tools, instance: InstanceId, term: u64, job: ObservedJob) {
    let ObservedPhase::Exited {
        exit_status,
        signal,
        reason,
        message,
        at,
    } = job.phase
    else {
        return;
    };
    let observation = JobObservation::Exited {
        exit_status,
        signal,
        reason,
        message,
        at,
    };
    tools
        .tell(
            term,
            RecordJob {
                submission: job.submission,
                instance,
                observation,
            },
        )
        .await;
}
