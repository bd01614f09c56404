//! Keeps a user attached to a job, over broken connections and resubmissions.

use super::places::Places;
use super::ports::{Forward, parse, reserve, wanted};
use super::{blocks, identity, route, tunnel};
use crate::args::Reach;
use crate::failure::{Failure, Outcome};
use dstack_api::client::ProjectClient;
use dstack_api::http::jobs::{Job, JobStatus, JobSubmission};
use dstack_api::http::runs::Run;
use dstack_domain::spec::AppSpec;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How often the run is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Attempts to get in before it is said that it does not work.
const ATTEMPTS: u32 = 10;

/// To what, and how.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub run: String,
    pub replica: u32,
    pub job: u32,
    /// The key, when it is not the one the server keeps.
    pub identity: Option<PathBuf>,
    /// The address on this machine that ports are forwarded from.
    pub bind: String,
    pub forwards: Vec<Forward>,
}

impl Wanted {
    /// The job `(replica, job)` of a run, as the command line says.
    pub fn new(run: &str, (replica, job): (u32, u32), reach: &Reach) -> Outcome<Self> {
        let forwards = reach.ports.iter().map(|text| parse(text));
        Ok(Self {
            run: run.to_owned(),
            replica,
            job,
            identity: reach.ssh_identity.clone(),
            bind: reach.host.clone(),
            forwards: forwards.collect::<Outcome<_>>()?,
        })
    }

    /// The ports of a job that declares these.
    pub fn ports(&self, apps: &[AppSpec]) -> Vec<Forward> {
        wanted(apps, &self.forwards)
    }
}

/// An attachment that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub alias: String,
    pub ports: Vec<(u16, u16)>,
    pub ide_url: Option<String>,
}

/// The task that keeps it; dropped, it detaches and removes what it wrote.
#[derive(Debug)]
pub struct Keeper {
    task: JoinHandle<()>,
    state: watch::Receiver<Option<Result<Attached, String>>>,
}

impl Keeper {
    pub fn start(project: &ProjectClient, wanted: Wanted) -> Outcome<Self> {
        let (told, state) = watch::channel(None);
        let keep = Keep {
            project: project.clone(),
            places: Places::find()?,
            wanted,
            told,
        };
        Ok(Self {
            task: tokio::spawn(keep.run()),
            state,
        })
    }

    /// The first attachment, or why there is none; nothing when the run was over before.
    pub async fn attached(&self) -> Outcome<Option<Attached>> {
        let mut state = self.state.clone();
        let found = state.wait_for(Option::is_some).await;
        match found.ok().and_then(|found| found.clone()) {
            Some(Ok(attached)) => Ok(Some(attached)),
            Some(Err(why)) => Err(Failure::refused(why)),
            None => Ok(None),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keep {
    project: ProjectClient,
    places: Places,
    wanted: Wanted,
    told: watch::Sender<Option<Result<Attached, String>>>,
}

/// What is held open: the tunnel goes first, then its blocks.
struct Way {
    submission: Uuid,
    ssh: tokio::process::Child,
    _blocks: blocks::Shown,
}

impl Keep {
    async fn run(self) {
        let (mut way, mut failed): (Option<Way>, u32) = (None, 0);
        loop {
            // An answer that does not come is asked for again.
            if let Ok(run) = self.project.get_run_by_name(&self.wanted.run).await {
                let Some((job, submission)) = self.find(&run) else {
                    return; // over
                };
                let broken = way.as_mut().is_some_and(|way| {
                    way.submission != submission.id || way.ssh.try_wait().ok().flatten().is_some()
                });
                if broken {
                    way = None;
                }
                if way.is_none() && submission.status == JobStatus::Running {
                    match self.open(&run, job, submission).await {
                        Ok(open) => (way, failed) = (Some(open), 0),
                        Err(error) => {
                            failed += 1;
                            if failed == ATTEMPTS {
                                self.told.send_replace(Some(Err(error.to_string())));
                            }
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The job as it is now; nothing when the run is over.
    fn find<'a>(&self, run: &'a Run) -> Option<(&'a Job, &'a JobSubmission)> {
        let place = (self.wanted.replica, self.wanted.job);
        let is_it = |job: &&Job| (job.job_spec.replica_num, job.job_spec.job_num) == place;
        let job = run.jobs.iter().find(is_it)?;
        let last = job.job_submissions.last()?;
        (!run.status.is_finished()).then_some((job, last))
    }

    async fn open(&self, run: &Run, job: &Job, submission: &JobSubmission) -> Outcome<Way> {
        let own = self.wanted.identity.as_deref();
        let known = run.run_spec.ssh_key_pub.as_deref();
        let key = identity::identity(&self.project, &self.places, own, known).await?;
        let alias = route::alias(&self.wanted.run, job);
        let shown = blocks::show(&self.places, &route::blocks(&alias, job, submission, &key)?)?;
        let forwards = self.wanted.ports(&job.job_spec.app_specs);
        let ports = reserve(&self.wanted.bind, &forwards)?;
        let ssh = tunnel::open(&self.places, &alias, &self.wanted.bind, &ports).await?;
        let attached = Attached {
            alias,
            ports,
            ide_url: job
                .job_connection_info
                .as_ref()
                .and_then(|info| info.attached_ide_url.clone()),
        };
        self.told.send_replace(Some(Ok(attached)));
        Ok(Way {
            submission: submission.id,
            ssh,
            _blocks: shown,
        })
    }
}
