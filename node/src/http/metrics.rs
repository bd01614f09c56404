//! What jobs use: the samples are one more stream of the log store, readable on every replica.

use std::collections::VecDeque;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use dstack_api::agent_metrics::Sample;
use dstack_api::frames::Frames;
use dstack_api::http::jobs::JobSubmission;
use dstack_api::http::metrics::{GetJobMetrics, JobMetrics};
use dstack_domain::ids::SubmissionId;
use jiff::Timestamp;

use super::access::{Need, Scope};
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::errors::HttpError;
use super::runs;
use super::series::{Point, series};
use crate::context::Context;
use crate::logs::{LogError, LogStore, Stream};

/// Bytes read from the store at a time.
const PIECE: usize = 512 * 1024;
/// Points in one answer.
const MOST: u32 = 10_000;

pub async fn job(
    State(context): State<Context>,
    caller: Caller,
    Path((project, run_name)): Path<(String, String)>,
    query: Result<Query<GetJobMetrics>, QueryRejection>,
) -> Outcome<JobMetrics> {
    let scope = Scope::enter(&context, &caller, &project, Need::Member).await?;
    let Query(query) = query.map_err(|why| HttpError::invalid("query", why.body_text()))?;
    let absent = || HttpError::absent("Found no job with given parameters");
    let (name, id) = match query.run_id {
        None => (Some(run_name.as_str()), None),
        Some(id) => (None, Some(id)),
    };
    let run = runs::find(&context, &scope, name, id)
        .await?
        .ok_or_else(absent)?;
    let wanted = run.jobs.into_iter().find(|job| {
        let place = (job.job_spec.replica_num, job.job_spec.job_num);
        place == (query.replica_num, query.job_num)
    });
    let mut submissions = wanted.map(|job| job.job_submissions).unwrap_or_default();
    let latest = submissions.pop().ok_or_else(absent)?;
    let points = read(&context.logs, &latest, &query).await;
    let points = points.map_err(|error| HttpError::internal("read a job's metrics", &error))?;
    let resources = resources(&latest);
    Ok(Answer::new(series(&points, resources), scope.view.revision))
}

/// What the job was given; without an offer of its own, what its machine has.
fn resources(latest: &JobSubmission) -> Option<&dstack_api::http::offers::Resources> {
    let offered = latest
        .job_runtime_data
        .as_ref()
        .and_then(|data| data.offer.as_ref())
        .map(|offer| &offer.instance.resources);
    let machine = latest
        .job_provisioning_data
        .as_ref()
        .map(|data| &data.instance_type.resources);
    offered.or(machine)
}

/// The latest points, and one before them: use of the CPU is a difference.
async fn read(
    store: &LogStore,
    job: &JobSubmission,
    query: &GetJobMetrics,
) -> Result<Vec<Point>, LogError> {
    let most = query.limit.min(MOST) as usize + 1;
    let micros = |moment: dstack_api::http::time::Moment| moment.timestamp().as_microsecond();
    let (after, before) = (query.after.map(micros), query.before.map(micros));
    // Which ones are wanted is known at the end, and to go past a sample is much cheaper than to read it.
    let mut found: VecDeque<(Timestamp, Vec<u8>)> = VecDeque::new();
    let (submission, mut at) = (SubmissionId::from(job.id), 0);
    loop {
        let page = store.read(submission, Stream::Metrics, at, PIECE).await?;
        for frame in Frames::new(&page.frames).map_while(Result::ok) {
            let early = after.is_some_and(|after| frame.micros < after);
            let late = before.is_some_and(|before| frame.micros >= before);
            if early || late {
                continue;
            }
            let mut room = match found.len() < most {
                true => Vec::new(),
                false => found.pop_front().map(|(_, room)| room).unwrap_or_default(),
            };
            room.clear();
            room.extend_from_slice(frame.payload);
            found.push_back((frame.timestamp(), room));
        }
        if page.frames.is_empty() {
            return Ok(found.into_iter().filter_map(point).collect());
        }
        at = page.next();
    }
}

fn point((at, payload): (Timestamp, Vec<u8>)) -> Option<Point> {
    let sample = serde_json::from_slice::<Sample>(&payload).ok()?;
    Some(Point { at, sample })
}
