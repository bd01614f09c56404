//! The first words with an agent.

use super::failure::HostError;
use super::ssh::Session;
use super::tools::Tools;
use dstack_api::agent::agent_client::AgentClient;
use dstack_api::agent::{HelloReply, HelloRequest};
use dstack_domain::ids::InstanceId;
use std::time::Duration;
use tonic::transport::Channel;

const ANSWER: Duration = Duration::from_secs(20);

pub async fn hello(
    tools: &Tools,
    session: &Session,
    client: &mut AgentClient<Channel>,
    instance: InstanceId,
    term: u64,
) -> Result<HelloReply, HostError> {
    let request = HelloRequest {
        epoch: term,
        cluster_id: tools.cluster_id(),
        instance_id: instance.to_string(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let agent = |cause: String| HostError::Agent {
        at: session.at().clone(),
        cause,
    };
    let answer = tokio::time::timeout(ANSWER, client.hello(request)).await;
    let reply = answer
        .map_err(|_| agent(format!("no answer within {} s", ANSWER.as_secs())))?
        .map_err(|status| agent(status.message().to_owned()))?
        .into_inner();
    if reply.epoch_seen > term {
        return Err(HostError::Superseded {
            at: session.at().clone(),
            seen: reply.epoch_seen,
            ours: term,
        });
    }
    Ok(reply)
}
