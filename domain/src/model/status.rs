//! Lawful transitions, and the status texts people see.

use super::{
    FleetStatus, InstanceStatus, JobReason, JobStatus, Run, RunReason, RunStatus, Submission,
};

/// A status with a table of lawful successors. `apply` refuses any other step.
pub trait Lawful: Copy + PartialEq {
    fn may_become(self, next: Self) -> bool;
    /// As events spell it.
    fn shout(self) -> &'static str;
}

impl Lawful for RunStatus {
    fn may_become(self, next: Self) -> bool {
        use RunStatus::*;
        match self {
            Pending => matches!(next, Submitted | Terminating),
            Submitted => matches!(next, Provisioning | Running | Pending | Terminating),
            Provisioning => matches!(next, Submitted | Running | Pending | Terminating),
            Running => matches!(next, Submitted | Provisioning | Pending | Terminating),
            // A scheduled run that nobody stopped waits for its next turn.
            Terminating => matches!(next, Terminated | Failed | Done | Pending),
            Terminated | Failed | Done => false,
        }
    }

    fn shout(self) -> &'static str {
        match self {
            RunStatus::Pending => "PENDING",
            RunStatus::Submitted => "SUBMITTED",
            RunStatus::Provisioning => "PROVISIONING",
            RunStatus::Running => "RUNNING",
            RunStatus::Terminating => "TERMINATING",
            RunStatus::Terminated => "TERMINATED",
            RunStatus::Failed => "FAILED",
            RunStatus::Done => "DONE",
        }
    }
}

impl Lawful for JobStatus {
    fn may_become(self, next: Self) -> bool {
        use JobStatus::*;
        match self {
            Submitted => matches!(next, Provisioning | Terminating),
            Provisioning => matches!(next, Pulling | Running | Terminating),
            Pulling => matches!(next, Running | Terminating),
            Running => matches!(next, Terminating),
            Terminating => next.is_finished(),
            Terminated | Aborted | Failed | Done => false,
        }
    }

    fn shout(self) -> &'static str {
        match self {
            JobStatus::Submitted => "SUBMITTED",
            JobStatus::Provisioning => "PROVISIONING",
            JobStatus::Pulling => "PULLING",
            JobStatus::Running => "RUNNING",
            JobStatus::Terminating => "TERMINATING",
            JobStatus::Terminated => "TERMINATED",
            JobStatus::Aborted => "ABORTED",
            JobStatus::Failed => "FAILED",
            JobStatus::Done => "DONE",
        }
    }
}

impl Lawful for InstanceStatus {
    fn may_become(self, next: Self) -> bool {
        use InstanceStatus::*;
        match self {
            Pending => matches!(next, Provisioning | Idle | Busy | Terminating | Terminated),
            // A machine that never answered is given up, and another one tried.
            Provisioning => matches!(next, Pending | Idle | Busy | Terminating),
            Idle => matches!(next, Busy | Terminating),
            Busy => matches!(next, Idle | Terminating),
            Terminating => matches!(next, Terminated),
            Terminated => false,
        }
    }

    fn shout(self) -> &'static str {
        match self {
            InstanceStatus::Pending => "PENDING",
            InstanceStatus::Provisioning => "PROVISIONING",
            InstanceStatus::Idle => "IDLE",
            InstanceStatus::Busy => "BUSY",
            InstanceStatus::Terminating => "TERMINATING",
            InstanceStatus::Terminated => "TERMINATED",
        }
    }
}

impl Lawful for FleetStatus {
    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (FleetStatus::Active, FleetStatus::Terminating)
                | (FleetStatus::Terminating, FleetStatus::Terminated)
        )
    }

    fn shout(self) -> &'static str {
        match self {
            FleetStatus::Active => "ACTIVE",
            FleetStatus::Terminating => "TERMINATING",
            FleetStatus::Terminated => "TERMINATED",
        }
    }
}

/// `JobSubmission.status_message`.
pub fn submission_status_message(submission: &Submission) -> String {
    let status = submission.status;
    let reason = submission.termination_reason;
    match (status, reason) {
        (JobStatus::Done, _) => "exited (0)".into(),
        (JobStatus::Aborted, _) => "aborted".into(),
        (JobStatus::Terminated, Some(JobReason::TerminatedByUser)) => "stopped".into(),
        (JobStatus::Failed, Some(JobReason::ContainerExitedWithError)) => {
            match submission.exit_status() {
                Some(code) => format!("exited ({code})"),
                None => "error".into(),
            }
        }
        (JobStatus::Failed, Some(JobReason::FailedToStartDueToNoCapacity)) => {
            let no_fleets = submission
                .termination_reason_message
                .as_deref()
                .is_some_and(|message| message.starts_with(crate::decide::NO_FLEETS));
            if no_fleets {
                "no fleets".into()
            } else {
                "no capacity".into()
            }
        }
        (JobStatus::Failed, Some(JobReason::InterruptedByNoCapacity)) => "interrupted".into(),
        (JobStatus::Failed, _) => "error".into(),
        (other, _) => other.shout().to_ascii_lowercase(),
    }
}

/// `JobSubmission.error`.
pub fn submission_error(submission: &Submission) -> Option<&'static str> {
    submission
        .termination_reason
        .and_then(JobReason::error_label)
}

/// `Run.status_message`; `latest` is the newest submission of every job.
pub fn run_status_message(run: &Run, latest: &[&Submission]) -> String {
    if !latest.is_empty()
        && latest.iter().all(|s| s.status == JobStatus::Pulling)
        && !run.status.is_finished()
    {
        return "pulling".into();
    }
    if matches!(run.status, RunStatus::Submitted | RunStatus::Pending) && is_retrying(run, latest) {
        return "retrying".into();
    }
    run.status.shout().to_ascii_lowercase()
}

fn is_retrying(run: &Run, latest: &[&Submission]) -> bool {
    let covered = run
        .jobs
        .first()
        .and_then(|job| job.retry.as_ref())
        .is_some_and(crate::decide::covers_no_capacity);
    let failed =
        |s: &&Submission| s.termination_reason == Some(JobReason::FailedToStartDueToNoCapacity);
    covered
        && (latest.iter().any(failed)
            || (run.resubmission_attempt > 0 && run.status == RunStatus::Submitted))
}

/// `Run.error`.
pub fn run_error(run: &Run) -> Option<&'static str> {
    match run.termination_reason? {
        RunReason::RetryLimitExceeded => Some("retry limit exceeded"),
        RunReason::ServerError => Some("server error"),
        RunReason::GatewayError => Some("gateway error"),
        _ => None,
    }
}
