//! Why runs and jobs ended: upstream's words, and what follows from each.

use super::{JobStatus, RunStatus};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunReason {
    AllJobsDone,
    JobFailed,
    RetryLimitExceeded,
    StoppedByUser,
    AbortedByUser,
    ServerError,
    GatewayError,
}

impl RunReason {
    pub fn as_str(self) -> &'static str {
        match self {
            RunReason::AllJobsDone => "all_jobs_done",
            RunReason::JobFailed => "job_failed",
            RunReason::RetryLimitExceeded => "retry_limit_exceeded",
            RunReason::StoppedByUser => "stopped_by_user",
            RunReason::AbortedByUser => "aborted_by_user",
            RunReason::ServerError => "server_error",
            RunReason::GatewayError => "gateway_error",
        }
    }

    pub fn job_reason(self) -> JobReason {
        match self {
            RunReason::AllJobsDone => JobReason::DoneByRunner,
            RunReason::StoppedByUser => JobReason::TerminatedByUser,
            RunReason::AbortedByUser => JobReason::AbortedByUser,
            RunReason::JobFailed
            | RunReason::RetryLimitExceeded
            | RunReason::ServerError
            | RunReason::GatewayError => JobReason::TerminatedByServer,
        }
    }

    pub fn final_status(self) -> RunStatus {
        match self {
            RunReason::AllJobsDone => RunStatus::Done,
            RunReason::StoppedByUser | RunReason::AbortedByUser => RunStatus::Terminated,
            RunReason::JobFailed
            | RunReason::RetryLimitExceeded
            | RunReason::ServerError
            | RunReason::GatewayError => RunStatus::Failed,
        }
    }

    pub fn by_user(self) -> bool {
        matches!(self, RunReason::StoppedByUser | RunReason::AbortedByUser)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobReason {
    FailedToStartDueToNoCapacity,
    InterruptedByNoCapacity,
    InstanceUnreachable,
    InstanceAccessRevoked,
    WaitingInstanceLimitExceeded,
    WaitingRunnerLimitExceeded,
    TerminatedByUser,
    VolumeError,
    GatewayError,
    ScaledDown,
    DoneByRunner,
    AbortedByUser,
    TerminatedByServer,
    InactivityDurationExceeded,
    TerminatedDueToUtilizationPolicy,
    ContainerExitedWithError,
    PortsBindingFailed,
    CreatingContainerError,
    ExecutorError,
    MaxDurationExceeded,
    LogQuotaExceeded,
}

/// What a retry policy may cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    NoCapacity,
    Interruption,
    Error,
}

impl JobReason {
    pub const ALL: [JobReason; 21] = [
        JobReason::FailedToStartDueToNoCapacity,
        JobReason::InterruptedByNoCapacity,
        JobReason::InstanceUnreachable,
        JobReason::InstanceAccessRevoked,
        JobReason::WaitingInstanceLimitExceeded,
        JobReason::WaitingRunnerLimitExceeded,
        JobReason::TerminatedByUser,
        JobReason::VolumeError,
        JobReason::GatewayError,
        JobReason::ScaledDown,
        JobReason::DoneByRunner,
        JobReason::AbortedByUser,
        JobReason::TerminatedByServer,
        JobReason::InactivityDurationExceeded,
        JobReason::TerminatedDueToUtilizationPolicy,
        JobReason::ContainerExitedWithError,
        JobReason::PortsBindingFailed,
        JobReason::CreatingContainerError,
        JobReason::ExecutorError,
        JobReason::MaxDurationExceeded,
        JobReason::LogQuotaExceeded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobReason::FailedToStartDueToNoCapacity => "failed_to_start_due_to_no_capacity",
            JobReason::InterruptedByNoCapacity => "interrupted_by_no_capacity",
            JobReason::InstanceUnreachable => "instance_unreachable",
            JobReason::InstanceAccessRevoked => "instance_access_revoked",
            JobReason::WaitingInstanceLimitExceeded => "waiting_instance_limit_exceeded",
            JobReason::WaitingRunnerLimitExceeded => "waiting_runner_limit_exceeded",
            JobReason::TerminatedByUser => "terminated_by_user",
            JobReason::VolumeError => "volume_error",
            JobReason::GatewayError => "gateway_error",
            JobReason::ScaledDown => "scaled_down",
            JobReason::DoneByRunner => "done_by_runner",
            JobReason::AbortedByUser => "aborted_by_user",
            JobReason::TerminatedByServer => "terminated_by_server",
            JobReason::InactivityDurationExceeded => "inactivity_duration_exceeded",
            JobReason::TerminatedDueToUtilizationPolicy => "terminated_due_to_utilization_policy",
            JobReason::ContainerExitedWithError => "container_exited_with_error",
            JobReason::PortsBindingFailed => "ports_binding_failed",
            JobReason::CreatingContainerError => "creating_container_error",
            JobReason::ExecutorError => "executor_error",
            JobReason::MaxDurationExceeded => "max_duration_exceeded",
            JobReason::LogQuotaExceeded => "log_quota_exceeded",
        }
    }

    /// The reason an agent named; unknown words are an executor's failure, never a panic.
    pub fn parse(text: &str) -> Option<JobReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    pub fn final_status(self) -> JobStatus {
        match self {
            JobReason::DoneByRunner => JobStatus::Done,
            JobReason::AbortedByUser => JobStatus::Aborted,
            JobReason::TerminatedByUser
            | JobReason::TerminatedByServer
            | JobReason::ScaledDown
            | JobReason::InactivityDurationExceeded
            | JobReason::MaxDurationExceeded
            | JobReason::TerminatedDueToUtilizationPolicy => JobStatus::Terminated,
            _ => JobStatus::Failed,
        }
    }

    /// Which retry event this end is, if any.
    pub fn retry_cause(self) -> Option<RetryCause> {
        match self {
            JobReason::FailedToStartDueToNoCapacity => Some(RetryCause::NoCapacity),
            JobReason::InterruptedByNoCapacity => Some(RetryCause::Interruption),
            other if other.final_status() == JobStatus::Failed => Some(RetryCause::Error),
            _ => None,
        }
    }

    /// The short label printed in parentheses after the status.
    pub fn error_label(self) -> Option<&'static str> {
        match self {
            JobReason::InstanceUnreachable => Some("instance unreachable"),
            JobReason::InstanceAccessRevoked => Some("instance access revoked"),
            JobReason::WaitingInstanceLimitExceeded => Some("waiting instance limit exceeded"),
            JobReason::WaitingRunnerLimitExceeded => Some("waiting runner limit exceeded"),
            JobReason::VolumeError => Some("volume error"),
            JobReason::GatewayError => Some("gateway error"),
            JobReason::PortsBindingFailed => Some("ports binding failed"),
            JobReason::CreatingContainerError => Some("runner error"),
            JobReason::ExecutorError => Some("executor error"),
            JobReason::LogQuotaExceeded => Some("log quota exceeded"),
            JobReason::ScaledDown => Some("scaled down"),
            JobReason::InactivityDurationExceeded => Some("inactivity duration exceeded"),
            JobReason::MaxDurationExceeded => Some("max duration exceeded"),
            JobReason::TerminatedDueToUtilizationPolicy => Some("utilization policy"),
            _ => None,
        }
    }

    /// Whether a running job gets its grace period before it is killed.
    pub fn is_graceful(self) -> bool {
        !matches!(self, JobReason::AbortedByUser | JobReason::DoneByRunner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_parses_back() {
        for reason in JobReason::ALL {
            assert_eq!(JobReason::parse(reason.as_str()), Some(reason));
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
        assert_eq!(JobReason::parse("eaten_by_a_grue"), None);
    }

    #[test]
    fn terminated_ends_are_not_retry_events() {
        assert_eq!(JobReason::MaxDurationExceeded.retry_cause(), None);
        assert_eq!(
            JobReason::ContainerExitedWithError.retry_cause(),
            Some(RetryCause::Error)
        );
        assert_eq!(
            JobReason::InterruptedByNoCapacity.retry_cause(),
            Some(RetryCause::Interruption)
        );
    }
}
