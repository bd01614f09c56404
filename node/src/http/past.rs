//! Runs that have left memory, read from disk. RocksDB blocks, so all of it runs off the reactor.

use std::ops::ControlFlow;
use std::sync::Arc;

use dstack_domain::encoding::EncodingError;
use dstack_domain::history::{self, PastRun};
use dstack_domain::ids::{ProjectId, RunId};
use dstack_domain::model::Submission;
use dstack_domain::state::JobView;
use dstack_storage::{Rows, Scan, StorageError, Table};

use super::errors::HttpError;
use super::walk::after;
use crate::context::Context;

/// Why a past record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a record on disk cannot be read")]
    Record(#[from] EncodingError),
}

impl From<PastError> for HttpError {
    fn from(error: PastError) -> Self {
        HttpError::internal("read records from disk", &error)
    }
}

/// Does the reading on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PastError> + Send + 'static,
) -> Result<T, HttpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(HttpError::from),
        Err(error) => Err(HttpError::internal("read records from disk", &error)),
    }
}

/// The rows of this replica, as they are now.
pub fn rows(context: &Context) -> Result<Arc<dyn Rows>, HttpError> {
    context
        .views
        .rows()
        .map_err(|error| HttpError::Unavailable(error.to_string()))
}

/// A run from history, with its `deleted` as it is today: the name of a run that is gone leads
/// elsewhere.
pub fn run(rows: &dyn Rows, id: RunId) -> Result<Option<PastRun>, PastError> {
    let prefix = history::run_prefix(id);
    let to = after(&prefix);
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let scan = Scan {
        table: Table::Hist,
        from: &prefix,
        to: to.as_deref(),
        reverse: false,
        limit: usize::MAX,
    };
    rows.scan(scan, &mut |key, value| {
        parts.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    let Some(mut past) = history::assemble_run(parts)? else {
        return Ok(None);
    };
    let named = named(rows, past.run.project_id, &past.run.name)?;
    past.run.deleted |= named != Some(id);
    Ok(Some(past))
}

/// The undeleted run of a name.
pub fn run_by_name(
    rows: &dyn Rows,
    project: ProjectId,
    name: &str,
) -> Result<Option<PastRun>, PastError> {
    match named(rows, project, name)? {
        Some(id) => run(rows, id),
        None => Ok(None),
    }
}

fn named(rows: &dyn Rows, project: ProjectId, name: &str) -> Result<Option<RunId>, PastError> {
    let value = rows.get(Table::Idx, &history::run_name_key(project, name))?;
    Ok(value.and_then(|value| history::parse_run_id(&value)))
}

/// The submissions of a past run, in the form the live ones are looked at.
pub struct PastJobs {
    submissions: Vec<Arc<Submission>>,
}

impl PastJobs {
    pub fn of(past: &PastRun) -> Self {
        Self {
            submissions: past.submissions.iter().cloned().map(Arc::new).collect(),
        }
    }

    pub fn views<'a>(&'a self, past: &'a PastRun) -> Vec<JobView<'a>> {
        let of = |replica: u32, job: u32| {
            let own = move |submission: &&Arc<Submission>| {
                (submission.replica_num, submission.job_num) == (replica, job)
            };
            self.submissions.iter().filter(own).collect()
        };
        past.run
            .jobs
            .iter()
            .map(|spec| JobView {
                spec,
                submissions: of(spec.replica_num, spec.job_num),
            })
            .collect()
    }
}
