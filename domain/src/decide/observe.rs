//! From what an agent reports to commands; only real changes become commands.

use crate::command::{Command, ConfirmGone, JobObservation, RecordJob};
use crate::ids::{InstanceId, SubmissionId};
use crate::model::{JobStatus, PullProgress, Submission};
use crate::spec::RunConfiguration;
use crate::state::State;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The whole set of jobs an agent knows of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedJobs {
    /// The epoch and generation of the desired set the agent has accepted last.
    pub epoch: u64,
    pub generation: u64,
    /// What that set asks for. Of these alone silence says something: any other job may still be on
    /// its way to the agent.
    pub asked: BTreeSet<SubmissionId>,
    pub jobs: Vec<ObservedJob>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ObservedJob {
    pub submission: SubmissionId,
    pub phase: ObservedPhase,
    /// Container port to host port.
    pub ports: BTreeMap<u16, u16>,
    pub container_user: Option<String>,
    pub working_dir: Option<String>,
    /// Nobody is connected to its SSH server.
    pub idle: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ObservedPhase {
    Accepted,
    Pulling {
        progress: Option<PullProgress>,
    },
    Creating,
    Running {
        started_at: Option<Timestamp>,
    },
    Exited {
        exit_status: Option<i32>,
        signal: Option<i32>,
        reason: Option<String>,
        message: Option<String>,
        at: Timestamp,
    },
}

/// `observed` must be an answer to a desired set of the current term: an agent that has not heard
/// this leader yet may lack a job it is about to get.
pub fn observe(
    state: &State,
    instance: InstanceId,
    observed: &ObservedJobs,
    _now: Timestamp,
) -> Vec<Command> {
    let Some(host) = state.instance(instance) else {
        return Vec::new();
    };
    let reported: BTreeMap<SubmissionId, &ObservedJob> = observed
        .jobs
        .iter()
        .map(|job| (job.submission, job))
        .collect();
    let mut commands = Vec::new();
    for id in &host.jobs {
        let Some(submission) = state.submission(*id) else {
            continue;
        };
        let news = match reported.get(id) {
            Some(job) => {
                let news = difference(submission, job);
                if news.is_empty() {
                    attendance(state, submission, job).into_iter().collect()
                } else {
                    news
                }
            }
            None if observed.asked.contains(id) => missing(submission),
            None => Vec::new(),
        };
        commands.extend(news.into_iter().map(|observation| {
            RecordJob {
                submission: *id,
                instance,
                observation,
            }
            .into()
        }));
    }
    let is_gone = |id: &&SubmissionId| {
        reported
            .get(id)
            .is_none_or(|job| matches!(job.phase, ObservedPhase::Exited { .. }))
    };
    let gone: BTreeSet<SubmissionId> = host.lingering.iter().filter(is_gone).copied().collect();
    if !gone.is_empty() {
        commands.push(
            ConfirmGone {
                instance,
                submissions: gone,
            }
            .into(),
        );
    }
    commands
}

/// The agent was asked for a job and does not know it. Before it has started the job that is natural.
fn missing(submission: &Submission) -> Vec<JobObservation> {
    let had_it = matches!(submission.status, JobStatus::Pulling | JobStatus::Running);
    let ending = submission.status == JobStatus::Terminating && submission.exit.is_none();
    if had_it || ending {
        vec![JobObservation::Lost]
    } else {
        Vec::new()
    }
}

fn difference(submission: &Submission, job: &ObservedJob) -> Vec<JobObservation> {
    let status = submission.status;
    let active = status.is_active();
    let is_starting = matches!(status, JobStatus::Provisioning | JobStatus::Pulling);
    match &job.phase {
        ObservedPhase::Exited {
            exit_status,
            signal,
            reason,
            message,
            at,
        } => {
            if submission.exit.is_some() || !(active || status == JobStatus::Terminating) {
                return Vec::new();
            }
            // One that was quick has run all the same, and users may still attach to what is left.
            let ran = is_starting && job.container_user.is_some();
            let mut news: Vec<_> = ran.then(|| running(job, None)).into_iter().collect();
            news.push(JobObservation::Exited {
                exit_status: *exit_status,
                signal: *signal,
                reason: reason.clone(),
                message: message.clone(),
                at: *at,
            });
            news
        }
        ObservedPhase::Running { started_at } if is_starting => vec![running(job, *started_at)],
        // It ran, and now waits for its start: the agent lost what it knew, and must not run it
        // twice. Creating says less: an agent that was restarted looks for the job's processes.
        ObservedPhase::Accepted if status == JobStatus::Running => vec![JobObservation::Lost],
        ObservedPhase::Accepted | ObservedPhase::Creating if status == JobStatus::Provisioning => {
            vec![JobObservation::Preparing { pull: None }]
        }
        ObservedPhase::Pulling { progress } if is_starting => {
            if status == JobStatus::Pulling && !is_news(submission.pull_progress, *progress) {
                return Vec::new();
            }
            vec![JobObservation::Preparing { pull: *progress }]
        }
        _ => Vec::new(),
    }
}

fn running(job: &ObservedJob, started_at: Option<Timestamp>) -> JobObservation {
    JobObservation::Running {
        started_at,
        ports: job.ports.clone(),
        container_user: job.container_user.clone(),
        working_dir: job.working_dir.clone(),
    }
}

/// Users come and go; of a dev environment that counts.
fn attendance(state: &State, submission: &Submission, job: &ObservedJob) -> Option<JobObservation> {
    let running = submission.status == JobStatus::Running
        && matches!(job.phase, ObservedPhase::Running { .. });
    if !running || submission.idle_since.is_some() == job.idle {
        return None;
    }
    let configuration = &state.run(submission.run_id)?.spec.configuration;
    matches!(configuration, RunConfiguration::DevEnvironment(_))
        .then_some(JobObservation::Attendance { idle: job.idle })
}

/// Progress enters the log in tenths, not in every step.
fn is_news(old: Option<PullProgress>, new: Option<PullProgress>) -> bool {
    let tenth = |progress: PullProgress| {
        let of = |bytes: u64| bytes.saturating_mul(10) / progress.total_bytes.max(1);
        (
            of(progress.downloaded_bytes),
            of(progress.extracted_bytes),
            progress.is_total_bytes_final,
        )
    };
    match (old, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => tenth(old) != tenth(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{AssignJobs, Assignment, FinishJob, StopRuns, TerminateJob};
    use crate::decide::decide;
    use crate::facts::Facts;
    use crate::model::JobReason;
    use crate::step::Step;
    use crate::testing::{Lab, big_host};
    use serde_json::json;

    /// A job that was just handed to the only host.
    fn placed() -> (Lab, InstanceId, SubmissionId) {
        placed_as(json!({}))
    }

    fn placed_as(extra: serde_json::Value) -> (Lab, InstanceId, SubmissionId) {
        let mut lab = Lab::new();
        lab.fleet("lab", &[big_host()]);
        let run = lab.submit("train", extra).id;
        let instance = lab.state.instances().next().unwrap().id;
        let submission = lab.state.latest_submissions(run)[0].id;
        let assignments = vec![Assignment {
            submission,
            instance,
            blocks: 1,
        }];
        lab.system(AssignJobs { run, assignments }).unwrap();
        (lab, instance, submission)
    }

    fn report(submission: SubmissionId, phase: ObservedPhase) -> ObservedJobs {
        let job = ObservedJob {
            submission,
            phase,
            ports: BTreeMap::from([(8000, 8000)]),
            container_user: Some("root".into()),
            working_dir: None,
            idle: false,
        };
        ObservedJobs {
            epoch: 1,
            generation: 1,
            asked: BTreeSet::from([submission]),
            jobs: vec![job],
        }
    }

    /// The agent was asked for the job and says nothing of it.
    fn silent_of(submission: SubmissionId) -> ObservedJobs {
        ObservedJobs {
            asked: BTreeSet::from([submission]),
            ..ObservedJobs::default()
        }
    }

    /// Applies what follows from a report; answers how many commands that was.
    fn tell(lab: &mut Lab, instance: InstanceId, report: &ObservedJobs) -> usize {
        let commands = observe(&lab.state, instance, report, lab.now);
        let count = commands.len();
        for command in commands {
            lab.system(command).unwrap();
        }
        count
    }

    fn pulling(downloaded_bytes: u64) -> ObservedPhase {
        let progress = PullProgress {
            downloaded_bytes,
            extracted_bytes: 0,
            total_bytes: 1000,
            is_total_bytes_final: true,
        };
        ObservedPhase::Pulling {
            progress: Some(progress),
        }
    }

    #[test]
    fn each_change_is_recorded_once() {
        let (mut lab, instance, id) = placed();
        let running = report(id, ObservedPhase::Running { started_at: None });
        for (step, commands) in [
            (report(id, ObservedPhase::Accepted), 1),
            (report(id, ObservedPhase::Accepted), 0),
            (report(id, pulling(10)), 1),
            (report(id, pulling(20)), 0),
            (report(id, pulling(500)), 1),
            (running.clone(), 1),
            (running, 0),
            (report(id, ObservedPhase::Creating), 0),
        ] {
            assert_eq!(tell(&mut lab, instance, &step), commands, "{step:?}");
        }
        let job = lab.state.submission(id).unwrap();
        assert_eq!(job.status, JobStatus::Running);
        assert_eq!(
            job.runtime_data.as_ref().unwrap().ports,
            Some(BTreeMap::from([(8000, 8000)]))
        );
    }

    #[test]
    fn an_environment_ends_when_nobody_has_used_it_for_long_enough() {
        let dev = json!({"type": "dev-environment", "inactivity_duration": "1h"});
        let (mut lab, instance, id) = placed_as(dev);
        let running = |idle| {
            let mut report = report(id, ObservedPhase::Running { started_at: None });
            report.jobs[0].idle = idle;
            report
        };
        let status = |lab: &mut Lab| {
            let facts = crate::facts::Facts::default();
            for step in decide(&lab.state, &facts, lab.now).steps {
                if let crate::step::Step::Propose(command) = step {
                    let _ = lab.system(command);
                }
            }
            lab.state.submission(id).unwrap().status
        };
        assert_eq!(tell(&mut lab, instance, &running(true)), 1, "it runs");
        assert_eq!(tell(&mut lab, instance, &running(true)), 1, "it is idle");
        assert_eq!(tell(&mut lab, instance, &running(true)), 0);
        lab.wait(3000);
        assert_eq!(tell(&mut lab, instance, &running(false)), 1, "a user came");
        lab.wait(3000);
        assert_eq!(status(&mut lab), JobStatus::Running);
        assert_eq!(tell(&mut lab, instance, &running(true)), 1, "and left");
        lab.wait(3599);
        assert_eq!(status(&mut lab), JobStatus::Running);
        lab.wait(1);
        assert_eq!(status(&mut lab), JobStatus::Terminating);
        let job = lab.state.submission(id).unwrap();
        let reason = JobReason::InactivityDurationExceeded;
        assert_eq!(job.termination_reason, Some(reason));
    }

    #[test]
    fn a_job_that_was_quick_tells_how_to_reach_what_is_left_of_it() {
        let (mut lab, instance, id) = placed();
        let exited = ObservedPhase::Exited {
            exit_status: Some(0),
            signal: None,
            reason: None,
            message: None,
            at: lab.now,
        };
        assert_eq!(tell(&mut lab, instance, &report(id, exited)), 2);
        let job = lab.state.submission(id).unwrap();
        assert_eq!(job.termination_reason, Some(JobReason::DoneByRunner));
        assert!(job.running_at.is_some());
        let ports = BTreeMap::from([(8000, 8000)]);
        assert_eq!(job.runtime_data.as_ref().unwrap().ports, Some(ports));
    }

    #[test]
    fn nobody_needs_to_visit_a_task() {
        let (mut lab, instance, id) = placed();
        let mut idle = report(id, ObservedPhase::Running { started_at: None });
        idle.jobs[0].idle = true;
        assert_eq!(tell(&mut lab, instance, &idle), 1);
        assert_eq!(tell(&mut lab, instance, &idle), 0);
    }

    #[test]
    fn a_job_the_agent_lost_fails_and_is_not_run_again() {
        for other in [None, Some(ObservedPhase::Accepted)] {
            let (mut lab, instance, id) = placed();
            let mut lost = silent_of(id);
            if let Some(phase) = other {
                lost.jobs = report(SubmissionId(uuid::Uuid::nil()), phase).jobs;
            }
            assert_eq!(
                tell(&mut lab, instance, &lost),
                0,
                "it may not have arrived yet"
            );
            tell(
                &mut lab,
                instance,
                &report(id, ObservedPhase::Running { started_at: None }),
            );
            assert_eq!(tell(&mut lab, instance, &lost), 1);
            let job = lab.state.submission(id).unwrap();
            assert_eq!(job.termination_reason, Some(JobReason::ExecutorError));
        }
    }

    #[test]
    fn an_aborted_job_that_may_still_be_on_its_way_keeps_its_machine() {
        let (mut lab, instance, id) = placed();
        lab.admin(StopRuns {
            project: lab.project,
            names: vec!["train".into()],
            abort: true,
        })
        .unwrap();
        for step in decide(&lab.state, &Facts::default(), lab.now).steps {
            if let Step::Propose(command) = step {
                lab.system(command).unwrap();
            }
        }
        let status = |lab: &Lab| lab.state.submission(id).unwrap().status;
        assert_eq!(status(&lab), JobStatus::Terminating);
        // An answer to the set before the one that asks for the job.
        assert_eq!(tell(&mut lab, instance, &ObservedJobs::default()), 0);
        assert_eq!(tell(&mut lab, instance, &silent_of(id)), 1);
        assert!(lab.state.submission(id).unwrap().exit.is_some());
    }

    #[test]
    fn another_hosts_word_does_not_count() {
        let (mut lab, _, id) = placed();
        lab.fleet("other", &[big_host()]);
        let other = lab
            .state
            .instances()
            .find(|i| i.name == "other-0")
            .unwrap()
            .id;
        assert_eq!(
            tell(
                &mut lab,
                other,
                &report(id, ObservedPhase::Running { started_at: None })
            ),
            0
        );
    }

    #[test]
    fn a_host_is_free_again_when_its_agent_says_so() {
        let (mut lab, instance, id) = placed();
        tell(
            &mut lab,
            instance,
            &report(id, ObservedPhase::Running { started_at: None }),
        );
        let reason = JobReason::InstanceUnreachable;
        lab.system(TerminateJob {
            submission: id,
            reason,
            message: None,
        })
        .unwrap();
        lab.system(FinishJob {
            submission: id,
            confirmed: false,
        })
        .unwrap();
        let lingers = |lab: &Lab| !lab.state.instance(instance).unwrap().lingering.is_empty();
        assert!(lingers(&lab));
        assert_eq!(
            tell(
                &mut lab,
                instance,
                &report(id, ObservedPhase::Running { started_at: None })
            ),
            0
        );
        assert!(lingers(&lab));
        assert_eq!(tell(&mut lab, instance, &ObservedJobs::default()), 1);
        assert!(!lingers(&lab));
    }
}
