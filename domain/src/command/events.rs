//! Targets of events: what a message is about.

use crate::model::{EventTarget, Fleet, Instance, Project, Run, Submission, TargetType, User};
use crate::state::State;
use uuid::Uuid;

fn within(
    state: &State,
    project: crate::ids::ProjectId,
    kind: TargetType,
    id: Uuid,
    name: &str,
) -> EventTarget {
    EventTarget {
        kind,
        project_id: Some(project),
        project_name: state.project(project).map(|project| project.name.clone()),
        id,
        name: name.to_owned(),
    }
}

pub(super) fn user(user: &User) -> EventTarget {
    EventTarget {
        kind: TargetType::User,
        project_id: None,
        project_name: None,
        id: user.id.0,
        name: user.username.clone(),
    }
}

pub(super) fn project(project: &Project) -> EventTarget {
    EventTarget {
        kind: TargetType::Project,
        project_id: Some(project.id),
        project_name: Some(project.name.clone()),
        id: project.id.0,
        name: project.name.clone(),
    }
}

pub(super) fn fleet(state: &State, fleet: &Fleet) -> EventTarget {
    within(
        state,
        fleet.project_id,
        TargetType::Fleet,
        fleet.id.0,
        &fleet.name,
    )
}

pub(super) fn instance(state: &State, instance: &Instance) -> EventTarget {
    within(
        state,
        instance.project_id,
        TargetType::Instance,
        instance.id.0,
        &instance.name,
    )
}

pub(super) fn run(state: &State, run: &Run) -> EventTarget {
    within(state, run.project_id, TargetType::Run, run.id.0, &run.name)
}

pub(super) fn job(state: &State, run: &Run, submission: &Submission) -> EventTarget {
    let name = format!(
        "{}-{}-{}",
        run.name, submission.job_num, submission.replica_num
    );
    within(
        state,
        run.project_id,
        TargetType::Job,
        submission.id.0,
        &name,
    )
}

pub(super) fn secret(state: &State, secret: &crate::model::Secret) -> EventTarget {
    within(
        state,
        secret.project_id,
        TargetType::Secret,
        secret.id.0,
        &secret.name,
    )
}
