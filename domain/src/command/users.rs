//! Users and their credentials. Tokens arrive as a hash and sealed; this module never sees them.

use super::{Actor, Outcome, Reply, events};
use crate::access;
use crate::ids::UserId;
use crate::model::{GlobalRole, Sealed, User};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The built-in administrator, who cannot be deleted.
const ADMIN: &str = "admin";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewUser {
    pub id: UserId,
    pub username: String,
    pub global_role: GlobalRole,
    pub email: Option<String>,
    pub active: bool,
    pub token_hash: String,
    pub token: Sealed,
    pub ssh_public_key: Option<String>,
    pub ssh_private_key: Option<Sealed>,
}

impl NewUser {
    pub(super) fn insert(&self, draft: &mut Draft) -> Outcome {
        if draft.user_by_name(&self.username).is_some() || draft.user(self.id).is_some() {
            return Err(Rejection::exists("User exists"));
        }
        let user = User {
            id: self.id,
            username: self.username.clone(),
            created_at: draft.at,
            global_role: self.global_role,
            email: self.email.clone(),
            active: self.active,
            token_hash: self.token_hash.clone(),
            token: self.token.clone(),
            ssh_public_key: self.ssh_public_key.clone(),
            ssh_private_key: self.ssh_private_key.clone(),
        };
        let target = events::user(&user);
        draft.put_user(user);
        draft.emit("User created", vec![target], &[]);
        Ok(Reply::User(self.id))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateUser {
    pub user: NewUser,
}

impl CreateUser {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require_global_admin(draft, draft.actor)?;
        self.user.insert(draft)
    }
}

/// Replaces the whole record but the credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateUser {
    pub username: String,
    pub global_role: GlobalRole,
    pub email: Option<String>,
    pub active: bool,
}

impl UpdateUser {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require_global_admin(draft, draft.actor)?;
        let user = find(draft, &self.username)?;
        let user = User {
            global_role: self.global_role,
            email: self.email.clone(),
            active: self.active,
            ..user.as_ref().clone()
        };
        let (id, target) = (user.id, events::user(&user));
        draft.put_user(user);
        draft.emit("User updated", vec![target], &[]);
        Ok(Reply::User(id))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteUsers {
    pub usernames: Vec<String>,
}

impl DeleteUsers {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require_global_admin(draft, draft.actor)?;
        for name in &self.usernames {
            if name == ADMIN {
                return Err(Rejection::error("User 'admin' cannot be deleted"));
            }
            let user = find(draft, name)?;
            let owned: Vec<String> = draft
                .projects()
                .filter(|p| p.owner == user.id)
                .map(|p| p.name.clone())
                .collect();
            if !owned.is_empty() {
                return Err(Rejection::error(format!(
                    "User {name} owns projects: {}",
                    owned.join(", ")
                ))
                .hint("Delete the projects first."));
            }
            leave_projects(draft, user.id);
            draft.emit("User deleted", vec![events::user(&user)], &[]);
            draft.remove_user(user.id);
        }
        Ok(Reply::None)
    }
}

fn leave_projects(draft: &mut Draft, user: UserId) {
    let projects: Vec<_> = draft
        .projects()
        .filter(|p| p.members.iter().any(|m| m.user == user))
        .cloned()
        .collect();
    for project in projects {
        let mut project = project.as_ref().clone();
        project.members.retain(|member| member.user != user);
        draft.put_project(project);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshToken {
    pub username: String,
    pub token_hash: String,
    pub token: Sealed,
}

impl RefreshToken {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let user = find_own(draft, &self.username)?;
        let user = User {
            token_hash: self.token_hash.clone(),
            token: self.token.clone(),
            ..user.as_ref().clone()
        };
        let (id, target) = (user.id, events::user(&user));
        draft.put_user(user);
        draft.emit("User token refreshed", vec![target], &[]);
        Ok(Reply::User(id))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshSshKey {
    pub username: String,
    pub public: String,
    pub private: Sealed,
}

impl RefreshSshKey {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let user = find_own(draft, &self.username)?;
        let user = User {
            ssh_public_key: Some(self.public.clone()),
            ssh_private_key: Some(self.private.clone()),
            ..user.as_ref().clone()
        };
        let (id, target) = (user.id, events::user(&user));
        draft.put_user(user);
        draft.emit("User SSH key refreshed", vec![target], &[]);
        Ok(Reply::User(id))
    }
}

fn find(draft: &Draft, name: &str) -> Result<Arc<User>, Rejection> {
    draft
        .user_by_name(name)
        .cloned()
        .ok_or_else(|| Rejection::not_exists(format!("User {name} not found")))
}

/// Oneself, or anybody for a global administrator.
fn find_own(draft: &Draft, name: &str) -> Result<Arc<User>, Rejection> {
    let user = find(draft, name)?;
    if draft.actor != Actor::User(user.id) {
        access::require_global_admin(draft, draft.actor)?;
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Code;
    use crate::testing::{Lab, ann, new_user};

    #[test]
    fn a_refreshed_token_replaces_the_old_one_at_once() {
        let mut lab = Lab::new();
        let refresh = |username: &str| RefreshToken {
            username: username.into(),
            token_hash: format!("new hash of {username}"),
            token: Sealed("sealed".into()),
        };
        assert_eq!(lab.ann(refresh("admin")).unwrap_err().code, Code::Forbidden);
        lab.ann(refresh("ann")).unwrap();
        assert!(lab.state.user_by_token_hash("hash of ann").is_none());
        assert_eq!(
            lab.state.user_by_token_hash("new hash of ann").unwrap().id,
            ann()
        );
    }

    #[test]
    fn users_are_made_and_unmade_by_administrators() {
        let mut lab = Lab::new();
        let bob = UserId::from_random([3; 16]);
        let create = CreateUser {
            user: new_user(bob, "bob", GlobalRole::User),
        };
        assert_eq!(lab.ann(create.clone()).unwrap_err().code, Code::Forbidden);
        lab.admin(create.clone()).unwrap();
        assert_eq!(lab.admin(create).unwrap_err().code, Code::ResourceExists);
        assert!(
            lab.admin(DeleteUsers {
                usernames: vec!["admin".into()]
            })
            .is_err()
        );
        lab.admin(DeleteUsers {
            usernames: vec!["bob".into()],
        })
        .unwrap();
        assert!(lab.state.user_by_name("bob").is_none() && lab.state.user(bob).is_none());
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let user = new_user(ann(), "ann", GlobalRole::User);
        assert!(!format!("{user:?}").contains("\"sealed\""));
    }
}
