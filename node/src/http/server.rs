//! What anybody may ask.

use axum::Json;
use axum::extract::State;
use dstack_api::http::server::{Health, OAuthProviderInfo, ServerInfo};

use crate::context::Context;

pub async fn healthcheck() -> Json<Health> {
    Json(Health {
        status: "running".to_owned(),
    })
}

pub async fn get_info(State(context): State<Context>) -> Json<ServerInfo> {
    Json(ServerInfo {
        server_version: Some(context.settings.version.clone()),
    })
}

/// There is no single sign-on; the released client says so when the list is empty.
pub async fn list_providers() -> Json<Vec<OAuthProviderInfo>> {
    Json(Vec::new())
}

pub async fn list_backend_types() -> Json<Vec<&'static str>> {
    Json(vec!["crusoe", "remote"])
}

/// Somebody opened the address in a browser.
pub async fn root(State(context): State<Context>) -> String {
    format!(
        "dstack server, API {}. Use it with the dstack command line: dstack project add --name main --url <this address> --token <token>\n",
        context.settings.version
    )
}
