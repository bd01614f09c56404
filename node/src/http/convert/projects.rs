//! Projects.

use std::sync::Arc;

use dstack_api::http::projects::{
    BackendInfo, Member as WireMember, MemberPermissions, Project as WireProject,
};
use dstack_domain::model::{Backend, Member, Project, ProjectRole};
use dstack_domain::state::State;

use super::user;

/// How much of the members is shown.
#[derive(Debug, Clone, Copy)]
pub enum Detail {
    Members,
    /// As lists are, which may be long.
    NoMembers,
}

/// None when the owner's record is missing, which the domain does not allow to happen.
pub fn project(state: &State, project: &Project, detail: Detail) -> Option<WireProject> {
    let owner = state.user(project.owner)?;
    let members = match detail {
        Detail::Members => members(state, project),
        Detail::NoMembers => Vec::new(),
    };
    Some(WireProject {
        project_id: project.id.0,
        project_name: project.name.clone(),
        owner: user(state, owner),
        created_at: Some(project.created_at.into()),
        backends: backends(state, project),
        members,
        is_public: project.is_public,
        templates_repo: None,
    })
}

/// Without credentials.
fn backends(state: &State, project: &Project) -> Vec<BackendInfo> {
    let shown = |backend: &Arc<Backend>| BackendInfo {
        name: backend.kind.to_string(),
        config: backend.config.clone(),
    };
    state.backends_of(project.id).map(shown).collect()
}

fn members(state: &State, project: &Project) -> Vec<WireMember> {
    project
        .members
        .iter()
        .filter_map(|member| wire_member(state, member))
        .collect()
}

fn wire_member(state: &State, member: &Member) -> Option<WireMember> {
    Some(WireMember {
        user: user(state, state.user(member.user)?),
        project_role: member.role,
        permissions: MemberPermissions {
            can_manage_ssh_fleets: true,
            can_manage_secrets: member.role == ProjectRole::Admin,
        },
    })
}
