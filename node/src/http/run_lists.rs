//! Lists of runs. The index on disk names every run of a project by time; those that are still in
//! memory are shown from there.

use std::ops::ControlFlow;

use axum::extract::State;
use dstack_api::http::runs::{ListRuns, MOST_RUNS, MOST_SUBMISSIONS, Run};
use dstack_domain::history;
use dstack_domain::ids::{ProjectId, RunId, UserId};
use dstack_domain::model;
use dstack_domain::state;
use dstack_storage::{Rows, Table};
use jiff::Timestamp;

use super::access::visible;
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::MaybeBody;
use super::convert::{self, Shown};
use super::errors::HttpError;
use super::paging::Page;
use super::past::{self, PastError, PastJobs};
use super::walk::{Source, walk};
use crate::context::Context;
use crate::env;
use crate::view::View;

/// Newest first, over all projects the caller is in.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListRuns>,
) -> Outcome<Vec<Run>> {
    let (caller, view) = caller.fresh(&context).await?;
    let Some(filter) = Filter::new(&view.state, &caller, &request)? else {
        return Ok(Answer::new(Vec::new(), view.revision));
    };
    let runs = if request.only_active {
        filter.active(&view.state)
    } else {
        let (rows, view) = (past::rows(&context)?, view.clone());
        past::blocking(move || filter.all(&view, rows.as_ref())).await?
    };
    Ok(Answer::new(runs, view.revision))
}

/// What is asked for, checked.
struct Filter {
    projects: Vec<ProjectId>,
    user: Option<UserId>,
    repo: Option<String>,
    page: Page,
    shown: Shown,
}

impl Filter {
    /// None when nothing can match.
    fn new(
        state: &state::State,
        caller: &Caller,
        request: &ListRuns,
    ) -> Result<Option<Self>, HttpError> {
        let page = Page::new(
            request.prev_submitted_at,
            request.prev_run_id,
            request.limit,
            MOST_RUNS,
            request.ascending,
        )?;
        let submissions = request.job_submissions_limit.unwrap_or(MOST_SUBMISSIONS);
        if submissions > MOST_SUBMISSIONS {
            let message = format!("Input should be less than or equal to {MOST_SUBMISSIONS}");
            return Err(HttpError::invalid("job_submissions_limit", message));
        }
        let user = match &request.username {
            None => None,
            Some(name) => {
                let found = state
                    .user_by_name(name)
                    .ok_or_else(|| HttpError::absent("User not found"))?;
                Some(found.id)
            }
        };
        // A repo belongs to a project, so without one there is nothing to find.
        if (request.repo_id.is_some() && request.project_name.is_none()) || page.limit == 0 {
            return Ok(None);
        }
        let wanted = |name: &str| {
            request
                .project_name
                .as_ref()
                .is_none_or(|other| other.eq_ignore_ascii_case(name))
        };
        let projects = visible(state, &caller.user).filter(|project| wanted(&project.name));
        Ok(Some(Self {
            projects: projects.map(|project| project.id).collect(),
            user,
            repo: request.repo_id.clone(),
            page,
            shown: Shown {
                jobs: request.include_jobs,
                submissions: submissions as usize,
                connection: false,
                now: env::now(),
            },
        }))
    }

    fn matches(&self, run: &model::Run) -> bool {
        self.projects.contains(&run.project_id)
            && self.user.is_none_or(|user| run.user_id == user)
            && self
                .repo
                .as_ref()
                .is_none_or(|repo| run.spec.repo_id.as_ref() == Some(repo))
    }

    /// Unfinished runs are all in memory.
    fn active(&self, state: &state::State) -> Vec<Run> {
        let rows = state
            .unfinished_runs()
            .filter(|run| self.matches(run))
            .collect();
        let rows = self.page.take(rows, |run| (run.submitted_at, run.id.0));
        rows.into_iter()
            .map(|run| convert::run(state, run, self.shown))
            .collect()
    }

    fn all(&self, view: &View, rows: &dyn Rows) -> Result<Vec<Run>, PastError> {
        let sources: Vec<Source> = self
            .projects
            .iter()
            .map(|project| source(*project))
            .collect();
        let start = self.page.after_moment.map(Timestamp::from);
        let mut found: Vec<(Timestamp, RunId, Run)> = Vec::new();
        walk(rows, &sources, start, self.page.ascending, |group| {
            for tail in group {
                let Some((at, id)) = place(tail) else {
                    continue;
                };
                if self.page.follows(at.into(), id.0)
                    && let Some(run) = self.load(view, rows, id)?
                {
                    found.push((at, id, run));
                }
            }
            Ok::<_, PastError>(if found.len() >= self.page.limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        let found = self.page.take(found, |(at, id, _)| (*at, id.0));
        Ok(found.into_iter().map(|(_, _, run)| run).collect())
    }

    fn load(&self, view: &View, rows: &dyn Rows, id: RunId) -> Result<Option<Run>, PastError> {
        if let Some(run) = view.state.run(id) {
            return Ok(self
                .matches(run)
                .then(|| convert::run(&view.state, run, self.shown)));
        }
        let Some(past) = past::run(rows, id)? else {
            return Ok(None);
        };
        let jobs = PastJobs::of(&past);
        let shown = || convert::run_with(&view.state, &past.run, &jobs.views(&past), self.shown);
        Ok(self.matches(&past.run).then(shown))
    }
}

fn source(project: ProjectId) -> Source {
    Source {
        table: Table::Idx,
        prefix: history::runs_prefix(project),
    }
}

/// The time and id in what follows the prefix of a project's runs.
fn place(tail: &[u8]) -> Option<(Timestamp, RunId)> {
    // The domain parses whole keys; whose project it is does not matter here.
    let mut key = history::runs_prefix(ProjectId::from(uuid::Uuid::nil()));
    key.extend_from_slice(tail);
    history::parse_run_place(&key)
}
