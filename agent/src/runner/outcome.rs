//! From how the command ended to what is recorded.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use jiff::Timestamp;

use crate::record::{ExitRecord, reason};

/// Why the runner ended the command, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The agent said so.
    Stopped,
    MaxDuration,
    LogQuota,
    /// Its GPUs were not used as much as its policy wants.
    Unused,
    /// SIGTERM from somebody else.
    Outside,
}

/// The exit record of a command that was started.
pub fn outcome(status: ExitStatus, cause: Option<Cause>, tail: &str, at: Timestamp) -> ExitRecord {
    let signal = status.signal();
    // As a shell counts it, so that there is one number in either case.
    let exit_status = status.code().or(signal.map(|signal| 128 + signal));
    let (reason, message) = match cause {
        Some(Cause::Stopped) => (reason::BY_SERVER, "stopped".to_owned()),
        Some(Cause::MaxDuration) => (
            reason::MAX_DURATION,
            "the job ran for its max_duration".to_owned(),
        ),
        Some(Cause::LogQuota) => (
            reason::LOG_QUOTA,
            "the job wrote more output in an hour than its log quota allows".to_owned(),
        ),
        Some(Cause::Unused) => (
            reason::UNUSED,
            "the job used its GPUs less than its utilization_policy wants".to_owned(),
        ),
        Some(Cause::Outside) => (
            reason::EXITED_WITH_ERROR,
            "stopped on the instance: the runner received SIGTERM".to_owned(),
        ),
        None if status.success() => (reason::DONE, String::new()),
        None => (reason::EXITED_WITH_ERROR, failure(status, tail)),
    };
    ExitRecord {
        exit_status,
        signal,
        reason: reason.to_owned(),
        message,
        at,
    }
}

fn failure(status: ExitStatus, tail: &str) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("killed by signal {signal} ({name})"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => "ended in an unknown way".to_owned(),
    };
    if tail.is_empty() {
        how
    } else {
        format!("{how}\n{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(raw: i32, cause: Option<Cause>) -> ExitRecord {
        outcome(
            ExitStatus::from_raw(raw),
            cause,
            "last words",
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn the_exit_status_and_the_signal_are_kept() {
        let done = record(0, None);
        assert_eq!(
            (done.exit_status, done.signal, done.reason.as_str()),
            (Some(0), None, reason::DONE)
        );
        let three = record(3 << 8, None);
        assert_eq!(
            (three.exit_status, three.reason.as_str()),
            (Some(3), reason::EXITED_WITH_ERROR)
        );
        assert_eq!(three.message, "exit status 3\nlast words");
        let killed = record(9, None);
        assert_eq!((killed.exit_status, killed.signal), (Some(137), Some(9)));
        assert!(killed.message.contains("SIGKILL"));
    }

    #[test]
    fn the_runners_own_reason_comes_first() {
        for (cause, reason) in [
            (Cause::Stopped, reason::BY_SERVER),
            (Cause::MaxDuration, reason::MAX_DURATION),
            (Cause::LogQuota, reason::LOG_QUOTA),
            (Cause::Outside, reason::EXITED_WITH_ERROR),
        ] {
            assert_eq!(record(0, Some(cause)).reason, reason);
        }
    }
}
