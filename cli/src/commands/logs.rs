//! `dstack logs`.

use super::follow::Follow;
use crate::args::Logs;
use crate::failure::{Failure, Outcome};
use dstack_api::http::time::Moment;
use jiff::Timestamp;

/// Prints the log; with `-f` until the run has ended.
pub async fn logs(args: Logs) -> Outcome {
    let project = super::connect(&args.common)?;
    let since = args.since.as_deref().map(moment).transpose()?;
    let mut follow = Follow::new(
        &project,
        &args.run,
        (args.replica, args.job),
        args.diagnose,
        since,
    );
    if args.follow {
        follow.until_end().await.map(drop)
    } else {
        follow.print_all().await
    }
}

/// What `--since` means now.
pub fn moment(text: &str) -> Outcome<Moment> {
    since(text, Timestamp::now())
}

/// `10m` before now, or an RFC 3339 moment.
fn since(text: &str, now: Timestamp) -> Outcome<Moment> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.into());
    }
    let refused = || {
        Failure::refused(format!(
            "--since {text} is neither a duration such as 10m nor a time such as 2026-11-25T12:00:00Z"
        ))
    };
    let seconds = dstack_domain::spec::Duration::parse(text)
        .map_err(|_| refused())?
        .as_secs();
    let span = jiff::SignedDuration::from_secs(i64::try_from(seconds).map_err(|_| refused())?);
    now.checked_sub(span)
        .map(Moment::from)
        .map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_and_moments() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        assert_eq!(
            since("10m", now).unwrap().to_string(),
            "2026-11-25T11:50:00Z"
        );
        assert_eq!(
            since("2026-11-25T10:00:00Z", now).unwrap().to_string(),
            "2026-11-25T10:00:00Z"
        );
        assert!(
            since("yesterday", now)
                .unwrap_err()
                .to_string()
                .contains("10m")
        );
    }
}
