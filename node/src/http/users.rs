//! Users.

use std::sync::Arc;

use axum::extract::State;
use dstack_api::http::users::{
    CreateUser, DeleteUsers, GetUser, ListUsers, MOST_ROWS, User, UserWithCreds, UsersInfoList,
};
use dstack_domain::command::{self, NewUser};
use dstack_domain::ids::UserId;
use dstack_domain::model;
use dstack_domain::spec::names;

use super::answer::{Answer, Listed, Outcome};
use super::auth::{self, Caller};
use super::body::{Body, MaybeBody};
use super::convert;
use super::errors::HttpError;
use super::paging::Page;
use super::request_id::ClientRequest;
use crate::context::Context;
use crate::view::View;
use crate::{env, ssh_keys};

pub async fn get_my_user(State(context): State<Context>, caller: Caller) -> Outcome<UserWithCreds> {
    let (caller, view) = caller.fresh(&context).await?;
    let user = convert::user_with_creds(&context, &view.state, &caller.user)?;
    Ok(Answer::new(user, view.revision))
}

/// Everybody for a global admin, oneself for others.
pub async fn list(
    State(context): State<Context>,
    caller: Caller,
    MaybeBody(request): MaybeBody<ListUsers>,
) -> Outcome<Listed<User, UsersInfoList>> {
    let (caller, view) = caller.fresh(&context).await?;
    let page = Page::new(
        request.prev_created_at,
        request.prev_id,
        request.limit,
        MOST_ROWS,
        request.ascending,
    )?;
    let mut rows: Vec<_> = view.state.users().collect();
    rows.retain(|user| caller.is_global_admin() || user.id == caller.id());
    rows.retain(|user| matches(&user.username, request.name_pattern.as_deref()));
    let total = rows.len() as u64;
    let rows = page.take(rows, |user| (user.created_at, user.id.0));
    let users: Vec<User> = rows
        .into_iter()
        .map(|user| convert::user(&view.state, user))
        .collect();
    let listed = match request.return_total_count {
        false => Listed::Plain(users),
        true => Listed::Counted(UsersInfoList {
            total_count: Some(total),
            users,
        }),
    };
    Ok(Answer::new(listed, view.revision))
}

/// A part of the name, in any case.
pub fn matches(name: &str, pattern: Option<&str>) -> bool {
    pattern.is_none_or(|pattern| name.to_lowercase().contains(&pattern.to_lowercase()))
}

pub async fn get_user(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<GetUser>,
) -> Outcome<UserWithCreds> {
    let (caller, view) = caller.fresh(&context).await?;
    let may_see = |id: UserId| caller.is_global_admin() || id == caller.id();
    let found = view
        .state
        .user_by_name(&request.username)
        .filter(|user| may_see(user.id));
    let user = found.ok_or_else(|| HttpError::absent("User not found"))?;
    Ok(Answer::new(
        convert::user_with_creds(&context, &view.state, user)?,
        view.revision,
    ))
}

pub async fn create(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<CreateUser>,
) -> Outcome<User> {
    names::check_user_name(&request.username).map_err(HttpError::refused)?;
    let token = env::uuid().to_string();
    let keys = ssh_keys::generate(&request.username)
        .map_err(|error| HttpError::internal("make a key pair", &error))?;
    let seal = |text: &str| {
        context
            .sealer
            .seal(text)
            .map_err(|error| HttpError::internal("seal a user's keys", &error))
    };
    let user = NewUser {
        id: UserId::from(env::uuid()),
        username: request.username,
        global_role: request.global_role,
        email: request.email,
        active: request.active,
        token_hash: auth::hash(&token),
        token: seal(&token)?,
        ssh_public_key: Some(keys.public),
        ssh_private_key: Some(seal(&keys.private)?),
    };
    let username = user.username.clone();
    change(
        &context,
        &caller,
        &request_id,
        command::CreateUser { user },
        &username,
    )
    .await
}

/// Replaces the whole record but the credentials.
pub async fn update(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<CreateUser>,
) -> Outcome<User> {
    let username = request.username.clone();
    let command = command::UpdateUser {
        username: request.username,
        global_role: request.global_role,
        email: request.email,
        active: request.active,
    };
    change(&context, &caller, &request_id, command, &username).await
}

/// A view that shows what the command did.
async fn submit(
    context: &Context,
    caller: &Caller,
    request_id: &ClientRequest,
    command: command::Command,
) -> Result<Arc<View>, HttpError> {
    let accepted = context
        .door
        .submit(caller.actor(), request_id.id(caller.id()), command)
        .await?;
    auth::showing(context, accepted.revision).await
}

fn named<'a>(view: &'a View, username: &str) -> Result<&'a model::User, HttpError> {
    view.state
        .user_by_name(username)
        .map(Arc::as_ref)
        .ok_or_else(|| HttpError::absent("User not found"))
}

async fn change(
    context: &Context,
    caller: &Caller,
    request_id: &ClientRequest,
    command: impl Into<command::Command>,
    username: &str,
) -> Outcome<User> {
    let view = submit(context, caller, request_id, command.into()).await?;
    let user = named(&view, username)?;
    Ok(Answer::new(convert::user(&view.state, user), view.revision))
}

/// The old token stops working at once.
pub async fn refresh_token(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<GetUser>,
) -> Outcome<UserWithCreds> {
    let token = env::uuid().to_string();
    let sealed = context
        .sealer
        .seal(&token)
        .map_err(|error| HttpError::internal("seal a token", &error))?;
    let command = command::RefreshToken {
        username: request.username.clone(),
        token_hash: auth::hash(&token),
        token: sealed,
    };
    renew(&context, &caller, &request_id, command, &request.username).await
}

pub async fn refresh_ssh_key(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<GetUser>,
) -> Outcome<UserWithCreds> {
    let keys = ssh_keys::generate(&request.username)
        .map_err(|error| HttpError::internal("make a key pair", &error))?;
    let private = context
        .sealer
        .seal(&keys.private)
        .map_err(|error| HttpError::internal("seal a key", &error))?;
    let command = command::RefreshSshKey {
        username: request.username.clone(),
        public: keys.public,
        private,
    };
    renew(&context, &caller, &request_id, command, &request.username).await
}

async fn renew(
    context: &Context,
    caller: &Caller,
    request_id: &ClientRequest,
    command: impl Into<command::Command>,
    username: &str,
) -> Outcome<UserWithCreds> {
    let view = submit(context, caller, request_id, command.into()).await?;
    let user = named(&view, username)?;
    Ok(Answer::new(
        convert::user_with_creds(context, &view.state, user)?,
        view.revision,
    ))
}

pub async fn delete(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    Body(request): Body<DeleteUsers>,
) -> Outcome<()> {
    let command = command::DeleteUsers {
        usernames: request.users,
    };
    let accepted = context
        .door
        .submit(caller.actor(), request_id.id(caller.id()), command.into())
        .await?;
    Ok(Answer::done(accepted.revision))
}
