//! Reaching a host, bringing up its agent, learning what the host is. Also for a host whose agent fell silent.

use crate::hosts::bring_up::bring_up;
use crate::hosts::channel;
use crate::hosts::failure::HostError;
use crate::hosts::first_contact;
use crate::hosts::greet;
use crate::hosts::reports;
use crate::hosts::ssh::Session;
use crate::hosts::target;
use crate::hosts::tools::Tools;
use dstack_api::agent::HelloReply;
use dstack_domain::command::{ConnectedHost, HostOutcome, RecordHost};
use dstack_domain::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;

/// Between the socket's appearance and the agent's first answer.
const GREETINGS: u32 = 20;
const AGAIN: Duration = Duration::from_millis(500);

pub async fn run(tools: &Arc<Tools>, instance: InstanceId, generation: u64, term: u64) {
    let outcome = match connect(tools, instance, generation, term).await {
        Ok(host) => HostOutcome::Connected(Box::new(host)),
        // Not the host's fault, and not ours to record any more.
        Err(HostError::Superseded { .. } | HostError::Gone) => return,
        Err(error) => HostOutcome::Failed {
            reason: error.to_string(),
        },
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
}

async fn connect(
    tools: &Arc<Tools>,
    instance: InstanceId,
    generation: u64,
    term: u64,
) -> Result<ConnectedHost, HostError> {
    let (env, known, made) = {
        let view = tools.views.now();
        let record = view
            .state
            .instance(instance)
            .filter(|record| record.generation == generation);
        let record = record.ok_or(HostError::Gone)?;
        (
            target::fleet_env(&view.state, record),
            record.host_key.is_some(),
            !record.is_own_host(),
        )
    };
    let session = tools.pool.session(instance).await?;
    if !known {
        // From now on a host with another key is another host.
        let outcome = HostOutcome::Reached {
            host_key: session.host_key().to_owned(),
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
    }
    let brought = async {
        if made {
            first_contact::booted(&session).await?;
        }
        let plan = bring_up(&session, &tools.binary, &env).await?;
        tools.pool.note_socket(instance, plan.socket()).await;
        greet(tools, &session, &plan.socket(), instance, term).await
    };
    match brought.await {
        Ok(reply) => Ok(ConnectedHost {
            facts: reply.facts.map(reports::facts).unwrap_or_default(),
            host_key: Some(session.host_key().to_owned()),
            agent_version: reply.agent_version,
            runtime: reply.runtime,
            boot_id: reply.boot_id,
        }),
        Err(error) => {
            if matches!(error, HostError::Lost { .. }) {
                tools.pool.drop_session(instance, &session).await;
            }
            Err(error)
        }
    }
}

async fn greet(
    tools: &Arc<Tools>,
    session: &Arc<Session>,
    socket: &str,
    instance: InstanceId,
    term: u64,
) -> Result<HelloReply, HostError> {
    let mut left = GREETINGS;
    loop {
        let attempt = async {
            let mut client = channel::agent(session.clone(), socket.to_owned()).await?;
            greet::hello(tools, session, &mut client, instance, term).await
        };
        match attempt.await {
            Err(HostError::Socket { .. } | HostError::Agent { .. }) if left > 0 => left -= 1,
            done => return done,
        }
        tokio::time::sleep(AGAIN).await;
    }
}
