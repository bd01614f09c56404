//! The audit log. Events live on disk only, with indexes by what they are about.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::State;
use dstack_api::http::events::{
    Event, EventTarget, EventTargetType, ListEvents, MOST_EVENTS, MOST_FILTERED,
};
use dstack_domain::history;
use dstack_domain::ids::{ProjectId, UserId};
use dstack_domain::model::{self, TargetType};
use dstack_domain::state;
use dstack_storage::{Rows, Table};
use jiff::Timestamp;
use uuid::Uuid;

use super::access::visible;
use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::MaybeBody;
use super::errors::HttpError;
use super::paging::Page;
use super::past::{self, PastError};
use super::walk::{Source, walk};
use crate::context::Context;
use crate::view::View;

/// Events about the caller and about the projects the caller is in; all of them for a global admin.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListEvents>,
) -> Outcome<Vec<Event>> {
    let (caller, view) = caller.fresh(&context).await?;
    let query = Query::new(&view.state, &caller, &request)?;
    let (rows, shown) = (past::rows(&context)?, view.clone());
    let events = past::blocking(move || query.run(&shown, rows.as_ref())).await?;
    Ok(Answer::new(events, view.revision))
}

/// Whose events may be seen.
enum Sight {
    All,
    Own {
        user: UserId,
        projects: Vec<ProjectId>,
    },
}

struct Query {
    sight: Sight,
    sources: Vec<Source>,
    /// Of the thing asked about: an index by id does not know the type.
    kind: Option<EventTargetType>,
    types: Option<Vec<EventTargetType>>,
    actors: Option<Vec<Option<Uuid>>>,
    page: Page,
}

impl Query {
    fn new(state: &state::State, caller: &Caller, request: &ListEvents) -> Result<Self, HttpError> {
        if request.limit == 0 {
            return Err(HttpError::invalid(
                "limit",
                "Input should be greater than or equal to 1",
            ));
        }
        let page = Page::new(
            request.prev_recorded_at,
            request.prev_id,
            request.limit,
            MOST_EVENTS,
            request.ascending,
        )?;
        let (targets, within) = (request.targets(), request.within());
        let chosen = one_filter("target_*", &targets)?;
        let scope = one_filter("within_*", &within)?;
        let index = |prefix: Vec<u8>| Source {
            table: Table::Idx,
            prefix,
        };
        let sources = match (chosen, scope) {
            (Some((_, ids)), _) => ids
                .iter()
                .map(|id| index(history::events_of_target(*id)))
                .collect(),
            (None, Some((_, ids))) => ids
                .iter()
                .map(|id| index(history::events_within(*id)))
                .collect(),
            (None, None) => vec![Source {
                table: Table::Events,
                prefix: Vec::new(),
            }],
        };
        let sight = match caller.is_global_admin() {
            true => Sight::All,
            false => Sight::Own {
                user: caller.id(),
                projects: visible(state, &caller.user)
                    .map(|project| project.id)
                    .collect(),
            },
        };
        Ok(Self {
            sight,
            sources,
            kind: chosen.map(|(kind, _)| kind),
            types: request.include_target_types.clone(),
            actors: request.actors.clone(),
            page,
        })
    }

    fn run(&self, view: &View, rows: &dyn Rows) -> Result<Vec<Event>, PastError> {
        let start = self.page.after_moment.map(Timestamp::from);
        let mut found: Vec<Arc<model::Event>> = Vec::new();
        walk(rows, &self.sources, start, self.page.ascending, |group| {
            for key in group {
                let Some(value) = rows.get(Table::Events, key)? else {
                    continue;
                };
                let event = history::decode_event(&value)?;
                if self.page.follows(event.recorded_at.into(), event.id.0) && self.matches(&event) {
                    found.push(Arc::new(event));
                }
            }
            Ok::<_, PastError>(match found.len() >= self.page.limit {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        let found = self
            .page
            .take(found, |event| (event.recorded_at, event.id.0));
        Ok(found
            .iter()
            .map(|event| shown(&view.state, event))
            .collect())
    }

    fn matches(&self, event: &model::Event) -> bool {
        let about = |kind: EventTargetType| {
            event
                .targets
                .iter()
                .any(|target| word(target.kind) == kind.as_str())
        };
        let visible = match &self.sight {
            Sight::All => true,
            Sight::Own { user, projects } => {
                event.actor_user_id == Some(*user)
                    || event.targets.iter().any(|target| {
                        target.id == user.0
                            || target.project_id.is_some_and(|id| projects.contains(&id))
                    })
            }
        };
        visible
            && self.kind.is_none_or(about)
            && self
                .types
                .as_ref()
                .is_none_or(|types| types.iter().any(|kind| about(*kind)))
            && self
                .actors
                .as_ref()
                .is_none_or(|actors| actors.contains(&event.actor_user_id.map(|id| id.0)))
    }
}

/// At most one filter of a family, with 1 to 16 ids.
fn one_filter<'a>(
    family: &str,
    set: &[(EventTargetType, &'a [Uuid])],
) -> Result<Option<(EventTargetType, &'a [Uuid])>, HttpError> {
    let chosen = match set {
        [] => return Ok(None),
        [one] => *one,
        _ => {
            return Err(HttpError::invalid(
                family,
                format!("At most one {family} filter can be given"),
            ));
        }
    };
    if chosen.1.is_empty() || chosen.1.len() > MOST_FILTERED {
        return Err(HttpError::invalid(
            family,
            format!("A filter takes 1 to {MOST_FILTERED} ids"),
        ));
    }
    Ok(Some(chosen))
}

fn word(kind: TargetType) -> &'static str {
    match kind {
        TargetType::Project => "project",
        TargetType::User => "user",
        TargetType::Fleet => "fleet",
        TargetType::Instance => "instance",
        TargetType::Run => "run",
        TargetType::Job => "job",
        TargetType::Volume => "volume",
        TargetType::Gateway => "gateway",
        TargetType::Secret => "secret",
    }
}

fn shown(state: &state::State, event: &model::Event) -> Event {
    let target = |target: &model::EventTarget| EventTarget {
        r#type: word(target.kind).to_owned(),
        project_id: target.project_id.map(|id| id.0),
        project_name: target.project_name.clone(),
        is_project_deleted: target.project_id.map(|id| state.project(id).is_none()),
        id: target.id,
        name: target.name.clone(),
    };
    Event {
        id: event.id.0,
        message: event.message.clone(),
        recorded_at: event.recorded_at.into(),
        actor_user_id: event.actor_user_id.map(|id| id.0),
        actor_user: event.actor_user.clone(),
        is_actor_user_deleted: event.actor_user_id.map(|id| state.user(id).is_none()),
        targets: event.targets.iter().map(target).collect(),
    }
}
