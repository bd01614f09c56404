//! Following one job's log to its end, over resubmissions and dead replicas.

use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::jobs::{Job, JobStatus, JobSubmission};
use dstack_api::http::logs::{JobSubmissionLogs, MOST_LINES, PollLogs};
use dstack_api::http::runs::Run;
use dstack_api::http::time::Moment;
use std::time::Duration;
use uuid::Uuid;

/// The server holds an empty poll this long, so that a line is seen at once and no loop spins.
const HOLD_SECONDS: u32 = 1;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where a follower stands. Dropping a step half-way loses nothing: the position moves only after
/// what was read has been printed.
pub struct Follow {
    project: ProjectClient,
    run: String,
    replica: u32,
    job: u32,
    diagnose: bool,
    since: Option<Moment>,
    submission: Option<Uuid>,
    token: Option<String>,
}

impl Follow {
    /// From the beginning of the job's last submission, or from `since`.
    pub fn new(
        project: &ProjectClient,
        run: &str,
        (replica, job): (u32, u32),
        diagnose: bool,
        since: Option<Moment>,
    ) -> Self {
        Self {
            project: project.clone(),
            run: run.to_owned(),
            replica,
            job,
            diagnose,
            since,
            submission: None,
            token: None,
        }
    }

    /// Prints what there is now and returns.
    pub async fn print_all(&mut self) -> Outcome {
        let run = self.get().await?;
        self.submission = Some(self.last(&run)?.id);
        loop {
            let page = self.page(None, false).await?;
            print(&page)?;
            match page.next_token {
                Some(token) => self.token = Some(token),
                None => return Ok(()),
            }
        }
    }

    /// Prints until the run has ended and its log is drained; returns the run. A resubmitted job is
    /// followed into its next submission.
    pub async fn until_end(&mut self) -> Outcome<Run> {
        loop {
            let run = self.get().await?;
            let last = self.last(&run)?;
            if self.submission != Some(last.id) {
                self.submission = Some(last.id);
                self.token = None;
            }
            if !run.status.is_finished() && waits(last) {
                ui::status(&format!("{}: {}", self.run, last.status_message));
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            ui::status_done();
            let ended = last.status.is_finished();
            let page = self.page((!ended).then_some(HOLD_SECONDS), true).await?;
            print(&page)?;
            let drained = page.logs.is_empty();
            self.token = page.next_token.or(self.token.take());
            if drained && run.status.is_finished() {
                return Ok(run);
            }
            if drained && ended {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn get(&self) -> Outcome<Run> {
        self.project
            .get_run_by_name(&self.run)
            .await
            .map_err(super::refused)
    }

    fn last<'a>(&self, run: &'a Run) -> Outcome<&'a JobSubmission> {
        let is_it = |job: &&Job| {
            job.job_spec.replica_num == self.replica && job.job_spec.job_num == self.job
        };
        run.jobs
            .iter()
            .find(is_it)
            .and_then(|job| job.job_submissions.last())
            .ok_or_else(|| {
                Failure::with_hint(
                    format!(
                        "run {} has no job {} of replica {}",
                        self.run, self.job, self.replica
                    ),
                    format!("See its jobs: dstack run get {} --json", self.run),
                )
            })
    }

    async fn page(&self, wait: Option<u32>, follow: bool) -> Outcome<JobSubmissionLogs> {
        let request = PollLogs {
            run_name: self.run.clone(),
            job_submission_id: self.submission.unwrap_or_default(),
            start_time: self.since,
            end_time: None,
            descending: false,
            next_token: self.token.clone(),
            limit: MOST_LINES,
            diagnose: self.diagnose,
            wait,
            follow,
        };
        self.project
            .poll_logs(&request)
            .await
            .map_err(super::refused)
    }
}

/// Whether there can be no output yet.
fn waits(submission: &JobSubmission) -> bool {
    matches!(
        submission.status,
        JobStatus::Submitted | JobStatus::Provisioning | JobStatus::Pulling
    )
}

fn print(page: &JobSubmissionLogs) -> Outcome {
    for event in &page.logs {
        let bytes = event.bytes().map_err(|error| {
            Failure::Other(anyhow::Error::new(error).context("a log line is not base64"))
        })?;
        ui::raw(&bytes);
    }
    Ok(())
}
