//! Taking the agent off a host that goes. A host of one's own bills nothing, so one that cannot be reached any
//! more is let go after a few attempts, with a note of what may be left on it.

use crate::hosts::bring_up::{look, take_down};
use crate::hosts::channel;
use crate::hosts::failure::HostError;
use crate::hosts::target;
use crate::hosts::tools::Tools;
use dstack_api::agent::ShutdownRequest;
use dstack_domain::command::{HostOutcome, InstanceGone, RecordHost};
use dstack_domain::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;

/// Failed attempts after which the host is let go all the same. With the pauses between them, about a minute.
const ATTEMPTS: u32 = 6;
const ANSWER: Duration = Duration::from_secs(10);

pub async fn run(tools: &Arc<Tools>, instance: InstanceId, generation: u64, term: u64) {
    let attempts = {
        let view = tools.views.now();
        let record = view
            .state
            .instance(instance)
            .filter(|record| record.generation == generation);
        match record {
            Some(record) => record.attempts,
            None => return,
        }
    };
    let message = match release(tools, instance).await {
        Ok(()) => None,
        Err(HostError::Gone) => return,
        Err(error) if attempts + 1 >= ATTEMPTS => Some(format!(
            "The host was let go without cleaning up, the agent may still run there: {error}"
        )),
        Err(error) => {
            let outcome = HostOutcome::Failed {
                reason: error.to_string(),
            };
            tools
                .tell(
                    term,
                    RecordHost {
                        instance,
                        generation,
                        outcome,
                    },
                )
                .await;
            return;
        }
    };
    tools
        .tell(
            term,
            InstanceGone {
                instance,
                generation,
                message,
            },
        )
        .await;
    tools.pool.forget(instance);
}

async fn release(tools: &Arc<Tools>, instance: InstanceId) -> Result<(), HostError> {
    let env = {
        let view = tools.views.now();
        let record = view.state.instance(instance).ok_or(HostError::Gone)?;
        target::fleet_env(&view.state, record)
    };
    let session = tools.pool.session(instance).await?;
    let (_, plan) = look(&session, &env).await?;
    // An agent that still has jobs refuses; one that does not answer has nobody to protect.
    if let Ok(mut client) = channel::agent(session.clone(), plan.socket()).await
        && let Ok(Ok(reply)) =
            tokio::time::timeout(ANSWER, client.shutdown(ShutdownRequest { force: false })).await
        && !reply.get_ref().accepted
    {
        let (at, cause) = (session.at().clone(), reply.into_inner().why);
        return Err(HostError::Agent {
            at,
            cause: format!("it does not want to leave: {cause}"),
        });
    }
    take_down(&session, &plan).await
}
