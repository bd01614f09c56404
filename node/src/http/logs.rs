//! The output of jobs, in pages. A page's token is the byte offset of the next frame, the same on
//! every replica, so a reader goes on elsewhere when the replica it asked is gone.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::{Path, State};
use dstack_api::frames::{Frame, Frames};
use dstack_api::http::logs::{JobSubmissionLogs, LogEvent, MOST_LINES, PollLogs};
use dstack_domain::ids::SubmissionId;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::errors::HttpError;
use crate::context::Context;
use crate::logs::{LogError, LogStore, Stream};

/// Bytes read from the store at a time.
const PIECE: usize = 512 * 1024;
/// Text in one answer, about: a page of long lines must not become hundreds of megabytes.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest a follower may ask to wait.
const LONGEST_WAIT: u32 = 25;

pub async fn poll(
    State(context): State<Context>,
    caller: Caller,
    Path(project): Path<String>,
    Body(request): Body<PollLogs>,
) -> Outcome<JobSubmissionLogs> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    if request.limit > MOST_LINES {
        return Err(HttpError::invalid(
            "limit",
            format!("Input should be less than or equal to {MOST_LINES}"),
        ));
    }
    let submission = SubmissionId::from(request.job_submission_id);
    // Unknown runs and jobs have no logs; that is not an error.
    if !super::runs::owns(&context, &scope, submission, &request.run_name).await? {
        return Ok(Answer::new(
            JobSubmissionLogs::default(),
            scope.view.revision,
        ));
    }
    let stream = if request.diagnose {
        Stream::Runner
    } else {
        Stream::Job
    };
    let reader = Reader {
        store: &context.logs,
        submission,
        stream,
        request: &request,
    };
    let logs = if request.descending {
        reader.backward().await
    } else {
        reader.forward().await
    };
    let logs = logs.map_err(|error| match error {
        ReadError::Token => {
            HttpError::refused("The token is not one this server gave; start without a token.")
        }
        ReadError::Store(error) => HttpError::internal("read a job's log", &error),
    })?;
    Ok(Answer::new(logs, scope.view.revision))
}

enum ReadError {
    Token,
    Store(LogError),
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> Self {
        Self::Store(error)
    }
}

struct Reader<'a> {
    store: &'a LogStore,
    submission: SubmissionId,
    stream: Stream,
    request: &'a PollLogs,
}

impl Reader<'_> {
    fn token(&self) -> Result<Option<u64>, ReadError> {
        let token = self
            .request
            .next_token
            .as_deref()
            .filter(|token| !token.is_empty());
        token
            .map(|token| token.parse().map_err(|_| ReadError::Token))
            .transpose()
    }

    /// Only what is strictly newer than `start_time`, and not newer than `end_time`.
    fn wants(&self, frame: &Frame<'_>) -> bool {
        let newer = self
            .request
            .start_time
            .is_none_or(|start| frame.micros > start.timestamp().as_microsecond());
        newer && !self.is_late(frame)
    }

    fn is_late(&self, frame: &Frame<'_>) -> bool {
        self.request
            .end_time
            .is_some_and(|end| frame.micros > end.timestamp().as_microsecond())
    }

    async fn forward(&self) -> Result<JobSubmissionLogs, ReadError> {
        let start = match (self.token()?, self.request.start_time) {
            (Some(token), _) => token,
            (None, Some(since)) => {
                self.store
                    .seek(self.submission, self.stream, since.timestamp())
                    .await?
            }
            (None, None) => 0,
        };
        let (mut logs, mut more, mut at) = self.read_forward(start).await?;
        let wait = self.request.wait.unwrap_or(0).min(LONGEST_WAIT);
        if logs.is_empty() && !more && wait > 0 && self.request.limit > 0 {
            let limit = Duration::from_secs(u64::from(wait));
            if self
                .store
                .wait_beyond(self.submission, self.stream, at, limit)
                .await?
            {
                (logs, more, at) = self.read_forward(at).await?;
            }
        }
        let next_token = (more || self.request.follow).then(|| at.to_string());
        Ok(JobSubmissionLogs {
            logs,
            external_url: None,
            next_token,
        })
    }

    /// The page from an offset on, whether there is more behind it, and where.
    async fn read_forward(&self, start: u64) -> Result<(Vec<LogEvent>, bool, u64), ReadError> {
        let limit = self.request.limit as usize;
        let (mut logs, mut bytes, mut at) = (Vec::new(), 0, start);
        if limit == 0 {
            return Ok((logs, false, at));
        }
        loop {
            let page = self
                .store
                .read(self.submission, self.stream, at, PIECE)
                .await?;
            at = page.from;
            for frame in Frames::new(&page.frames).map_while(Result::ok) {
                if self.is_late(&frame) {
                    return Ok((logs, false, at));
                }
                if logs.len() == limit || bytes >= ANSWER_BYTES {
                    return Ok((logs, true, at));
                }
                at += frame.encoded_len() as u64;
                if self.wants(&frame) {
                    bytes += frame.payload.len();
                    logs.push(LogEvent::new(frame.timestamp().into(), frame.payload));
                }
            }
            if page.frames.is_empty() || at < page.next() {
                return Ok((logs, false, at));
            }
        }
    }

    /// The newest lines below the token, newest first. Frames can be read forward only, so this
    /// goes through all of it; it is for people who look at the end of a log, not for followers.
    async fn backward(&self) -> Result<JobSubmissionLogs, ReadError> {
        let bound = self.token()?.unwrap_or(u64::MAX);
        let limit = self.request.limit as usize;
        let mut last: VecDeque<(u64, LogEvent)> = VecDeque::new();
        let (mut at, mut dropped) = (0, false);
        'reading: loop {
            let page = self
                .store
                .read(self.submission, self.stream, at, PIECE)
                .await?;
            at = page.from;
            for frame in Frames::new(&page.frames).map_while(Result::ok) {
                if at >= bound || self.is_late(&frame) {
                    break 'reading;
                }
                if self.wants(&frame) {
                    last.push_back((at, LogEvent::new(frame.timestamp().into(), frame.payload)));
                }
                if last.len() > limit {
                    last.pop_front();
                    dropped = true;
                }
                at += frame.encoded_len() as u64;
            }
            if page.frames.is_empty() || at < page.next() {
                break;
            }
        }
        let next_token = last
            .front()
            .filter(|_| dropped)
            .map(|(offset, _)| offset.to_string());
        let logs = last.into_iter().rev().map(|(_, event)| event).collect();
        Ok(JobSubmissionLogs {
            logs,
            external_url: None,
            next_token,
        })
    }
}
