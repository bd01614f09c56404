//! How a replica without an identity gets one. Three ways, and never two of them:
//!
//! - alone: a cluster of one voter, which can grow;
//! - an initial cluster: everybody is told the same list. When the replica with the lowest name has
//!   heard from all others that they hold the same list and belong to no cluster, it draws the
//!   cluster id and initialises; the others take their place when they hear of it;
//! - joining: it waits until the cluster has added its name.
//!
//! A replica with an identity does none of this. One that lost its disk must not come back under its
//! old id, because it may have voted and acknowledged before; its peers remember having met it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dstack_storage::Identity;
use futures::future::join_all;
use tonic::transport::Channel;

use crate::NodeId;
use crate::context::Context;
use crate::error::StartError;
use crate::options::Options;
use crate::proto::HelloReply;
use crate::proto::peer_client::PeerClient;
use crate::types::Member;

/// Ids 1 to this belong to initial clusters; later ids lie above, so neither is ever given twice.
pub const MAX_INITIAL: usize = 99;

const ASK: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_millis(200);
const REMIND: Duration = Duration::from_secs(5);

/// The id of a member that is added after the blank entry at this log index.
pub fn id_at(index: u64) -> NodeId {
    index.saturating_add(MAX_INITIAL as u64 + 1)
}

/// What came of formation: who this replica is, and the voters to initialise with if that is its part.
pub struct Formed {
    pub identity: Identity,
    pub initialise: Option<BTreeMap<NodeId, Member>>,
}

/// Voters of the initial cluster, numbered by name; the replica alone when there is no list.
fn initial_voters(options: &Options) -> BTreeMap<NodeId, Member> {
    let mut list = options.initial.clone();
    if list.is_empty() {
        list.push((options.node_name.clone(), options.advertise.clone()));
    }
    list.sort();
    (1..)
        .zip(list)
        .map(|(id, (name, addr))| (id, Member { name, addr }))
        .collect()
}

/// The list as peers compare it.
pub fn initial_lines(options: &Options) -> Vec<String> {
    let mut lines: Vec<String> = options
        .initial
        .iter()
        .map(|(name, addr)| format!("{name}={addr}"))
        .collect();
    lines.sort();
    lines
}

pub async fn form(ctx: &Arc<Context>, options: &Options) -> Result<Formed, StartError> {
    let voters = initial_voters(options);
    let lowest =
        options.join.is_empty() && voters.get(&1).is_some_and(|m| m.name == options.node_name);
    if let Some(identity) = Identity::load(&options.data_dir)? {
        if identity.node_name != options.node_name {
            return Err(StartError::Options(format!(
                "the data directory {} belongs to replica {:?}, this is {:?}; give each replica its own",
                options.data_dir.display(),
                identity.node_name,
                options.node_name
            )));
        }
        // A crash between identity and initialisation leaves the first replica with this to finish.
        let initialise = (lowest && identity.node_id == 1).then_some(voters);
        return Ok(Formed {
            identity,
            initialise,
        });
    }
    if !options.join.is_empty() {
        return join(ctx, options).await;
    }
    if voters.len() > 1 {
        meet(ctx, options, voters, lowest).await
    } else {
        found(options, voters)
    }
}

/// The first replica draws the id of the cluster.
fn found(options: &Options, voters: BTreeMap<NodeId, Member>) -> Result<Formed, StartError> {
    let mut id = [0_u8; 16];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut id);
    let cluster_id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let identity = Identity::create(&options.data_dir, &cluster_id, 1, &options.node_name)?;
    tracing::info!(
        cluster = cluster_id,
        voters = voters.len(),
        "founded a cluster"
    );
    Ok(Formed {
        identity,
        initialise: Some(voters),
    })
}

/// One round of questions; an answer per peer that gave one.
async fn ask_all(
    ctx: &Context,
    peers: &mut [(String, PeerClient<Channel>)],
) -> Vec<(String, Result<HelloReply, String>)> {
    join_all(peers.iter_mut().map(|(name, client)| async {
        let answer = ctx
            .hello(client, ASK)
            .await
            .map_err(|status| status.message().to_owned());
        (name.clone(), answer)
    }))
    .await
}

fn clients(ctx: &Context, list: &[(String, String)]) -> Vec<(String, PeerClient<Channel>)> {
    let others = list.iter().filter(|(name, _)| *name != ctx.name);
    others
        .map(|(name, addr)| (name.clone(), ctx.dialer.client(name, addr)))
        .collect()
}

async fn meet(
    ctx: &Arc<Context>,
    options: &Options,
    voters: BTreeMap<NodeId, Member>,
    lowest: bool,
) -> Result<Formed, StartError> {
    let mut peers = clients(ctx, &options.initial);
    let mut reminder = Reminder::new();
    loop {
        let answers = ask_all(ctx, &mut peers).await;
        for (name, answer) in &answers {
            let Ok(reply) = answer else { continue };
            if let Err(e) = check_same_list(ctx, name, reply) {
                // Stays to be asked: otherwise the other side would wait for a replica that is gone.
                tokio::time::sleep(ASK + ROUND).await;
                return Err(e);
            }
            if reply.cluster_id.is_empty() {
                continue;
            }
            if lowest {
                return Err(lost_disk(&ctx.name, reply));
            }
            if let Some(identity) = take_place(ctx, options, reply)? {
                return Ok(Formed {
                    identity,
                    initialise: None,
                });
            }
        }
        if lowest && answers.iter().all(|(_, answer)| answer.is_ok()) {
            return found(options, voters);
        }
        reminder.missing(&answers);
        tokio::time::sleep(ROUND).await;
    }
}

async fn join(ctx: &Arc<Context>, options: &Options) -> Result<Formed, StartError> {
    let mut peers = clients(ctx, &options.join);
    let mut reminder = Reminder::new();
    loop {
        let answers = ask_all(ctx, &mut peers).await;
        for (_, answer) in &answers {
            let Ok(reply) = answer else { continue };
            if let Some(identity) = take_place(ctx, options, reply)? {
                return Ok(Formed {
                    identity,
                    initialise: None,
                });
            }
        }
        reminder.missing(&answers);
        tokio::time::sleep(ROUND).await;
    }
}

fn check_same_list(ctx: &Context, name: &str, reply: &HelloReply) -> Result<(), StartError> {
    // A member that was restarted without the list has none to compare.
    if reply.initial == ctx.initial || (reply.initial.is_empty() && !reply.cluster_id.is_empty()) {
        return Ok(());
    }
    Err(StartError::Formation(format!(
        "the initial cluster is {} here and {} at {name}; start all replicas with the same list",
        ctx.initial.join(","),
        if reply.initial.is_empty() {
            "empty".to_owned()
        } else {
            reply.initial.join(",")
        },
    )))
}

fn lost_disk(name: &str, reply: &HelloReply) -> StartError {
    StartError::Formation(format!(
        "replica {name} belonged to cluster {} already (says {}), but its data directory is empty. Under its old id it could break promises it made. Restore its data, or remove it from the cluster and add it anew",
        reply.cluster_id, reply.name
    ))
}

/// Writes the identity that a cluster has ready for this replica's name, if it has.
fn take_place(
    ctx: &Context,
    options: &Options,
    reply: &HelloReply,
) -> Result<Option<Identity>, StartError> {
    let Some(place) = reply.members.iter().find(|m| m.name == ctx.name) else {
        return Ok(None);
    };
    if reply.met_caller {
        return Err(lost_disk(&ctx.name, reply));
    }
    let identity = Identity::create(&options.data_dir, &reply.cluster_id, place.id, &ctx.name)?;
    tracing::info!(
        cluster = identity.cluster_id,
        id = identity.node_id,
        "joined a cluster"
    );
    Ok(Some(identity))
}

/// Says now and then whom the replica waits for.
struct Reminder {
    last: Instant,
}

impl Reminder {
    fn new() -> Self {
        Reminder {
            last: Instant::now(),
        }
    }

    fn missing(&mut self, answers: &[(String, Result<HelloReply, String>)]) {
        if self.last.elapsed() < REMIND {
            return;
        }
        self.last = Instant::now();
        for (name, answer) in answers {
            match answer {
                Err(reason) => tracing::info!(
                    peer = name,
                    reason,
                    "waiting for a peer to form the cluster with"
                ),
                Ok(reply) if reply.cluster_id.is_empty() => {
                    tracing::info!(peer = name, "waiting for the cluster to be founded")
                }
                Ok(_) => tracing::info!(
                    peer = name,
                    "waiting to be added: run `dstack cluster add` there"
                ),
            }
        }
    }
}
