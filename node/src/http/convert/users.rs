//! Users.

use dstack_api::http::users::{User as WireUser, UserPermissions, UserTokenCreds, UserWithCreds};
use dstack_domain::access;
use dstack_domain::model::User;
use dstack_domain::state::State;

use crate::context::Context;
use crate::http::errors::HttpError;

pub fn user(state: &State, user: &User) -> WireUser {
    WireUser {
        id: user.id.0,
        username: user.username.clone(),
        created_at: Some(user.created_at.into()),
        global_role: user.global_role,
        email: user.email.clone(),
        active: user.active,
        permissions: UserPermissions {
            can_create_projects: access::can_create_projects(state, user),
        },
        ssh_public_key: user.ssh_public_key.clone(),
    }
}

/// With the token and the private key, for the user alone or a global admin.
pub fn user_with_creds(
    context: &Context,
    state: &State,
    record: &User,
) -> Result<UserWithCreds, HttpError> {
    let open = |sealed| {
        context
            .sealer
            .open(sealed)
            .map_err(|error| HttpError::internal("open a user's keys", &error))
    };
    Ok(UserWithCreds {
        user: user(state, record),
        creds: UserTokenCreds {
            token: open(&record.token)?,
        },
        ssh_private_key: record.ssh_private_key.as_ref().map(open).transpose()?,
    })
}
