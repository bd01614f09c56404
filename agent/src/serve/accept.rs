//! What servers may change: the desired set, and whether the agent stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use dstack_api::agent::{Desired, DesiredJob, Phase};
use dstack_api::agent_job::JobOrder;
use uuid::Uuid;

use super::entry::Entry;
use super::reconciler::Reconciler;
use crate::clock;
use crate::decide::{Want, WantPhase};
use crate::durable;
use crate::ledger::Refusal;
use crate::record::{ExitRecord, JobPhase, JobRecord, RepoCreds, Secrets, reason};
use crate::runtime::{Credentials, Fuel};

impl Reconciler {
    pub(super) fn accept(&mut self, desired: Desired) -> Result<(), Refusal> {
        let mut wants = BTreeMap::new();
        for job in &desired.jobs {
            // A submission that is no UUID names no folder; the server sees that it is missing.
            let Ok(submission) = Uuid::parse_str(&job.submission_id) else {
                tracing::error!(
                    submission = job.submission_id,
                    "the server named a submission that is no UUID"
                );
                continue;
            };
            wants.insert(submission, want(job));
        }
        // First the promise, then what follows from it.
        self.ledger
            .accept(desired.epoch, desired.generation, wants)?;
        for job in desired.jobs {
            if let Ok(submission) = Uuid::parse_str(&job.submission_id) {
                self.accept_job(submission, job);
            }
        }
        Ok(())
    }

    fn accept_job(&mut self, submission: Uuid, job: DesiredJob) {
        let had_secrets =
            !job.secret_env.is_empty() || job.registry_auth.is_some() || job.repo_creds.is_some();
        if let Some(entry) = self.jobs.get_mut(&submission) {
            // An order without a body is a reminder of a job that is here already.
            if entry.record.phase == JobPhase::Accepted && !job.spec_json.is_empty() {
                entry.fuel = Some(fuel(job));
            }
            return;
        }
        let job_is_lost = job.spec_json.is_empty();
        let parsed = JobOrder::from_json(&job.spec_json);
        let mut entry = Entry::new(
            &self.home,
            JobRecord::accepted(submission, had_secrets),
            parsed.as_ref().cloned().unwrap_or_default(),
            None,
        );
        let written = entry
            .task
            .job
            .create()
            .and_then(|()| durable::write(&entry.task.job.order(), job.spec_json.as_bytes()));
        entry.fuel = Some(fuel(job));
        let broken = match (written, parsed) {
            _ if job_is_lost => {
                Some("this host no longer has the job: its folder was removed".to_owned())
            }
            (Err(error), _) => Some(format!("the agent cannot write the job's folder: {error}")),
            (_, Err(error)) => Some(format!("the agent cannot read the order: {error}")),
            (Ok(()), Ok(_)) => None,
        };
        match broken {
            Some(message) => entry.finish(ExitRecord::without_status(
                reason::EXECUTOR,
                message,
                clock::now(),
            )),
            None => entry.save(),
        }
        self.jobs.insert(submission, entry);
    }

    /// Leaves the host. With force, jobs are killed first, by an empty desired set; the server
    /// asks again until they are gone.
    pub(super) fn shutdown(&mut self, force: bool) -> Result<(), String> {
        let alive = self
            .jobs
            .values()
            .filter(|entry| entry.record.phase != JobPhase::Exited)
            .count();
        if alive > 0 && !force {
            return Err(format!(
                "{alive} jobs have not ended on this host; stop them first"
            ));
        }
        if alive > 0 {
            let accepted = self.ledger.accepted();
            let (epoch, generation) = (accepted.epoch, accepted.generation);
            self.ledger
                .accept(epoch, generation, BTreeMap::new())
                .map_err(|refusal| refusal.to_string())?;
            return Err(format!("{alive} jobs are being killed; ask again"));
        }
        for entry in self.jobs.values() {
            let _ = durable::remove_dir(entry.task.job.root());
        }
        self.ledger.release().map_err(|refusal| refusal.to_string())
    }
}

fn want(job: &DesiredJob) -> Want {
    let phase = match job.phase() {
        Phase::Run => WantPhase::Run,
        Phase::Stop => WantPhase::Stop,
        Phase::Kill => WantPhase::Kill,
    };
    Want {
        phase,
        grace_s: job.grace_s,
    }
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn fuel(job: DesiredJob) -> Fuel {
    Fuel {
        secrets: Arc::new(Secrets {
            env: job.secret_env.into_iter().collect(),
            repo: job.repo_creds.map(|creds| RepoCreds {
                oauth_token: text(creds.oauth_token),
                private_key: text(creds.private_key),
            }),
        }),
        credentials: job.registry_auth.map(|auth| Credentials {
            username: auth.username,
            password: auth.password,
        }),
    }
}
