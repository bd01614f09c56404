//! One agent, for as long as this replica leads and wants something from it.
//!
//! Down go the whole desired set whenever it differs (epoch = term, a generation that grows), acknowledgements of
//! output, and pings. Up come the whole observed set whenever it changes, output, and pongs. The link ends with
//! the term, and never touches a job by ending.

use super::channel;
use super::failure::HostError;
use super::greet;
use super::intake::{Incoming, Intake};
use super::orders;
use super::reporter;
use super::reports;
use super::ssh::Session;
use super::status::Status;
use super::tools::Tools;
use super::uploads::Uploads;
use crate::env;
use dstack_api::agent::agent_client::AgentClient;
use dstack_api::agent::{self, Down, Observed, Ping, Up, down, up};
use dstack_domain::decide::{
    DesiredJob, DesiredPhase, DesiredSet, ObservedJob, ObservedJobs, ObservedPhase,
};
use dstack_domain::ids::{InstanceId, SubmissionId};
use dstack_domain::model::JobStatus;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;
use tonic::transport::Channel;

const PING: Duration = Duration::from_secs(2);
/// Without a word for so long the link is given up. Longer than a few lost pings, shorter than what makes a host
/// unreachable.
const SILENCE: Duration = Duration::from_secs(9);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A link that held so long was a good one: the next attempt comes at once.
const GOOD: Duration = Duration::from_secs(10);
/// Messages on their way down.
const QUEUE: usize = 64;

/// What a link needs to know.
pub struct Link {
    pub tools: Arc<Tools>,
    pub instance: InstanceId,
    pub term: u64,
    pub desired: watch::Receiver<Arc<DesiredSet>>,
    /// Shared by all links of the term: a generation is never used twice.
    pub generations: Arc<AtomicU64>,
    pub status: Arc<Status>,
}

impl Link {
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let Err(error) = self.hold().await;
            if self.status.failed(env::now(), &error.to_string()) {
                tracing::warn!(instance = %self.instance, term = self.term, %error, "no link to the agent");
                self.tools.wake.notify_one();
            }
            if begun.elapsed() > GOOD {
                pause = FIRST_PAUSE;
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Makes the link and serves it until it breaks.
    async fn hold(&mut self) -> Result<std::convert::Infallible, HostError> {
        let (session, socket) = self.tools.pool.agent(self.instance).await?;
        let held = self.converse(&session, socket).await;
        if let Err(HostError::Lost { .. }) = &held {
            // It may be half dead; a new one is cheap, waiting for its keepalive is not.
            self.tools.pool.drop_session(self.instance, &session).await;
        }
        held
    }

    async fn converse(
        &mut self,
        session: &Arc<Session>,
        socket: String,
    ) -> Result<std::convert::Infallible, HostError> {
        let mut client = channel::agent(session.clone(), socket).await?;
        greet::hello(&self.tools, session, &mut client, self.instance, self.term).await?;
        let (down, messages) = mpsc::channel(QUEUE);
        let opened = client.link(ReceiverStream::new(messages)).await;
        let at = session.at().clone();
        let up = opened
            .map_err(|status| HostError::Agent {
                at,
                cause: status.message().to_owned(),
            })?
            .into_inner();
        Conversation::begin(self, session.clone(), client, down)
            .serve(up)
            .await
    }
}

/// One open link.
struct Conversation<'a> {
    link: &'a mut Link,
    session: Arc<Session>,
    down: mpsc::Sender<Down>,
    intake: mpsc::UnboundedSender<Incoming>,
    observed: watch::Sender<Option<ObservedJobs>>,
    uploads: Uploads,
    known: BTreeSet<String>,
    /// What each pushed set asks for, from the one the agent has accepted on.
    asked: BTreeMap<u64, BTreeSet<SubmissionId>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl<'a> Conversation<'a> {
    fn begin(
        link: &'a mut Link,
        session: Arc<Session>,
        client: AgentClient<Channel>,
        down: mpsc::Sender<Down>,
    ) -> Conversation<'a> {
        let (intake, incoming) = mpsc::unbounded_channel();
        let (observed, reported) = watch::channel(None);
        let (tools, status) = (link.tools.clone(), link.status.clone());
        let storing = Intake {
            tools: tools.clone(),
            status,
            down: down.clone(),
        }
        .run(incoming);
        let telling = reporter::run(tools.clone(), link.instance, link.term, reported);
        let tasks = [tokio::spawn(storing), tokio::spawn(telling)].map(AbortOnDropHandle::new);
        let uploads = Uploads::new(tools.bulk.clone(), client);
        Conversation {
            link,
            session,
            down,
            intake,
            observed,
            uploads,
            known: BTreeSet::new(),
            asked: BTreeMap::new(),
            _tasks: tasks,
        }
    }

    async fn serve(mut self, mut up: Streaming<Up>) -> Result<std::convert::Infallible, HostError> {
        self.link.desired.mark_changed();
        let mut ping = tokio::time::interval(PING);
        let mut heard = Instant::now();
        let mut nonce = 0;
        loop {
            tokio::select! {
                message = up.message() => {
                    let message = message.map_err(|status| self.agent(status.message()))?;
                    let message = message.ok_or_else(|| self.agent("it closed the link"))?;
                    heard = Instant::now();
                    self.link.tools.liveness.heard(self.link.instance);
                    self.receive(message)?;
                }
                changed = self.link.desired.changed() => {
                    // Its sender lives as long as the link is wanted.
                    changed.map_err(|_| HostError::Gone)?;
                    self.push().await?;
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(self.lost("the agent has been silent"));
                    }
                    nonce += 1;
                    self.send(down::Kind::Ping(Ping { nonce })).await?;
                }
            }
        }
    }

    fn agent(&self, cause: &str) -> HostError {
        HostError::Agent {
            at: self.session.at().clone(),
            cause: cause.to_owned(),
        }
    }

    fn lost(&self, cause: &str) -> HostError {
        HostError::Lost {
            at: self.session.at().clone(),
            cause: cause.to_owned(),
        }
    }

    async fn send(&self, kind: down::Kind) -> Result<(), HostError> {
        let sent = self
            .down
            .send_timeout(Down { kind: Some(kind) }, SILENCE)
            .await;
        sent.map_err(|_| self.lost("the agent takes no more messages"))
    }

    fn receive(&mut self, message: Up) -> Result<(), HostError> {
        match message.kind {
            Some(up::Kind::Observed(observed)) => self.observe(&observed),
            // The other end of the queue is aborted with this link only.
            Some(up::Kind::Logs(chunk)) => drop(self.intake.send(Incoming::Chunk(chunk))),
            Some(up::Kind::Refused(refused)) if refused.epoch_seen > self.link.term => {
                let (at, ours) = (self.session.at().clone(), self.link.term);
                return Err(HostError::Superseded {
                    at,
                    seen: refused.epoch_seen,
                    ours,
                });
            }
            Some(up::Kind::Refused(refused)) => return Err(self.agent(&refused.why)),
            // Pongs, and what a newer agent may say.
            Some(up::Kind::Pong(_)) | None => {}
        }
        Ok(())
    }

    fn observe(&mut self, observed: &Observed) {
        for job in &observed.jobs {
            if self.known.insert(job.submission_id.clone())
                && let Ok(submission) = job.submission_id.parse()
            {
                let _ = self.intake.send(Incoming::Known(submission));
            }
            for sha256 in &job.archives_missing {
                self.uploads.want(sha256);
            }
        }
        self.link.status.observed(observed);
        // Before it has accepted a set of this term, what it says answers somebody else.
        if observed.epoch == self.link.term {
            if self.link.status.connected() {
                tracing::info!(instance = %self.link.instance, term = self.link.term, "linked to the agent");
            }
            self.asked = self.asked.split_off(&observed.generation);
            let asked = self.asked.get(&observed.generation).cloned();
            let told = reports::observed(observed, asked.unwrap_or_default());
            self.observed.send_replace(Some(told));
        }
        // An exit may complete what was stored before.
        self.link.tools.wake.notify_one();
    }

    async fn push(&mut self) -> Result<(), HostError> {
        let set = self.link.desired.borrow_and_update().clone();
        let jobs = self.orders(&set).await;
        let generation = self.link.generations.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(instance = %self.link.instance, generation, jobs = jobs.len(), "pushing the desired set");
        let asked = jobs.iter().filter_map(|job| job.submission_id.parse().ok());
        self.asked.insert(generation, asked.collect());
        self.send(down::Kind::Desired(agent::Desired {
            epoch: self.link.term,
            generation,
            jobs,
        }))
        .await
    }

    /// A job that cannot be ordered ends with the reason, unless it is under way already.
    async fn orders(&self, set: &DesiredSet) -> Vec<agent::DesiredJob> {
        let (mut jobs, mut refused) = (Vec::new(), Vec::new());
        {
            let view = self.link.tools.views.now();
            for desired in &set.jobs {
                match orders::order(&view.state, &self.link.tools.sealer, desired) {
                    Ok(order) => jobs.push(order),
                    Err(why) => {
                        let status = view
                            .state
                            .submission(desired.submission)
                            .map(|submission| submission.status);
                        if status == Some(JobStatus::Provisioning)
                            && desired.phase == DesiredPhase::Run
                        {
                            refused.push((desired.clone(), why));
                        } else {
                            jobs.push(orders::reminder(desired));
                        }
                    }
                }
            }
        }
        self.link
            .status
            .forget_refused(&set.jobs.iter().map(|job| job.submission).collect());
        for (desired, why) in refused {
            self.refuse(&desired, why).await;
        }
        jobs
    }

    async fn refuse(&self, desired: &DesiredJob, why: String) {
        let exited = ObservedJob {
            submission: desired.submission,
            phase: ObservedPhase::Exited {
                exit_status: None,
                signal: None,
                reason: Some("executor_error".to_owned()),
                message: Some(why),
                at: env::now(),
            },
            ports: Default::default(),
            container_user: None,
            idle: false,
            working_dir: None,
        };
        self.link.status.refused(desired.submission);
        let (tools, instance, term) = (&self.link.tools, self.link.instance, self.link.term);
        reporter::tell_one(tools, instance, term, exited).await;
    }
}
