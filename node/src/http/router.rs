//! Which path is answered by whom.

use aide::axum::ApiRouter;
use aide::axum::routing::{ApiMethodRouter, get, post};
use aide::openapi::OpenApi;
use axum::Router;
use axum::extract::DefaultBodyLimit;

use super::{
    absent, backends, cluster, events, files, fleet_plans, fleets, gpus, instances, leaks, logs,
    members, metrics, older_clients, openapi, projects, repos, run_lists, run_plans, runs, secrets,
    server, trace, users,
};
use crate::context::Context;
use crate::limits;

/// Everything a replica serves to clients.
pub fn router(context: Context) -> Router {
    // Upstream's upload limit is checked by the handlers, which can say it in words.
    let upload = DefaultBodyLimit::max(upload_limit(&context));
    openapi::describe(|| calls(upload), &mut OpenApi::default())
        .route("/openapi.json", axum::routing::get(openapi::get))
        .fallback(absent::unknown)
        .method_not_allowed_fallback(absent::wrong_method)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn(older_clients::adapt))
        .layer(axum::middleware::from_fn(trace::answers))
        .with_state(context)
}

/// Every call there is, with its description. Uploads have a limit of their own.
pub fn calls(upload: DefaultBodyLimit) -> ApiRouter<Context> {
    ApiRouter::new()
        .merge(open())
        .merge(people())
        .merge(work())
        .merge(places())
        .merge(uploads().layer(upload))
        .merge(not_here())
}

fn upload_limit(context: &Context) -> usize {
    /// Boundaries and headers around the file.
    const AROUND: usize = 64 * 1024;
    match usize::try_from(context.settings.code_upload_limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit.saturating_add(AROUND),
    }
}

fn project(rest: &str) -> String {
    format!("/api/project/{{project}}/{rest}")
}

fn in_project(
    router: ApiRouter<Context>,
    rest: &str,
    handler: ApiMethodRouter<Context>,
) -> ApiRouter<Context> {
    router.api_route(&project(rest), handler)
}

/// Without a token.
fn open() -> ApiRouter<Context> {
    ApiRouter::new()
        .api_route("/", get(server::root))
        .api_route("/healthcheck", get(server::healthcheck))
        .api_route("/api/server/get_info", post(server::get_info))
        .api_route("/api/auth/list_providers", post(server::list_providers))
        .api_route("/api/backends/list_types", post(server::list_backend_types))
}

fn people() -> ApiRouter<Context> {
    ApiRouter::new()
        .api_route("/api/users/get_my_user", post(users::get_my_user))
        .api_route("/api/users/list", post(users::list))
        .api_route("/api/users/get_user", post(users::get_user))
        .api_route("/api/users/create", post(users::create))
        .api_route("/api/users/update", post(users::update))
        .api_route("/api/users/refresh_token", post(users::refresh_token))
        .api_route("/api/users/refresh_ssh_key", post(users::refresh_ssh_key))
        .api_route("/api/users/delete", post(users::delete))
        .api_route("/api/users/public_keys/list", post(absent::list_all))
        .api_route("/api/projects/list", post(projects::list))
        .api_route(
            "/api/projects/list_only_no_fleets",
            post(projects::list_only_no_fleets),
        )
        .api_route("/api/projects/create", post(projects::create))
        .api_route("/api/projects/delete", post(projects::delete))
        .api_route("/api/projects/{project}/get", post(projects::get))
        .api_route("/api/projects/{project}/update", post(projects::update))
        .api_route("/api/projects/{project}/set_members", post(members::set))
        .api_route("/api/projects/{project}/add_members", post(members::add))
        .api_route(
            "/api/projects/{project}/remove_members",
            post(members::remove),
        )
}

fn work() -> ApiRouter<Context> {
    let routes: [(&str, ApiMethodRouter<Context>); 15] = [
        ("runs/get", post(runs::get)),
        ("runs/get_plan", post(run_plans::get_plan)),
        ("runs/apply", post(runs::apply)),
        ("gpus/list", post(gpus::list)),
        ("runs/stop", post(runs::stop)),
        ("runs/delete", post(runs::delete)),
        ("logs/poll", post(logs::poll)),
        ("repos/init", post(repos::init)),
        ("repos/get", post(repos::get)),
        ("repos/list", post(repos::list)),
        ("repos/delete", post(repos::delete)),
        ("secrets/list", post(secrets::list)),
        ("secrets/get", post(secrets::get)),
        ("secrets/create_or_update", post(secrets::create_or_update)),
        ("secrets/delete", post(secrets::delete)),
    ];
    let router = ApiRouter::new()
        .api_route("/api/runs/list", post(run_lists::list))
        .api_route("/api/events/list", post(events::list))
        .api_route(&project("metrics/job/{run_name}"), get(metrics::job))
        .api_route(
            "/api/files/get_archive_by_hash",
            post(files::get_archive_by_hash),
        );
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}

fn places() -> ApiRouter<Context> {
    let routes: [(&str, ApiMethodRouter<Context>); 16] = [
        ("leaks/list", post(leaks::list)),
        ("backends/create", post(backends::create)),
        ("backends/update", post(backends::update)),
        ("backends/create_yaml", post(backends::create_yaml)),
        ("backends/update_yaml", post(backends::update_yaml)),
        ("backends/delete", post(backends::delete)),
        (
            "backends/{backend}/config_info",
            post(backends::config_info),
        ),
        ("backends/{backend}/get_yaml", post(backends::get_yaml)),
        ("backends/{backend}/test", post(backends::test)),
        ("fleets/list", post(fleets::list)),
        ("fleets/get", post(fleets::get)),
        ("fleets/get_plan", post(fleet_plans::get_plan)),
        ("fleets/apply", post(fleets::apply)),
        ("fleets/delete", post(fleets::delete)),
        ("fleets/delete_instances", post(fleets::delete_instances)),
        ("instances/get", post(instances::get)),
    ];
    let router = ApiRouter::new()
        .api_route("/api/fleets/list", post(fleets::list_all))
        .api_route("/api/instances/list", post(instances::list))
        .api_route(
            "/api/cluster/status",
            get(cluster::status).post(cluster::status),
        )
        .api_route("/api/cluster/add", post(cluster::add))
        .api_route("/api/cluster/promote", post(cluster::promote))
        .api_route("/api/cluster/remove", post(cluster::remove));
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}

fn uploads() -> ApiRouter<Context> {
    ApiRouter::new()
        .api_route("/api/files/upload_archive", post(files::upload_archive))
        .api_route(&project("repos/upload_code"), post(repos::upload_code))
}

/// Upstream's paths for things this server does not have.
fn not_here() -> ApiRouter<Context> {
    let routes: [(&str, ApiMethodRouter<Context>); 19] = [
        ("volumes/list", post(absent::list)),
        ("volumes/get", post(absent::get_volume)),
        ("volumes/create", post(absent::no_volumes)),
        ("volumes/delete", post(absent::delete)),
        ("gateways/list", post(absent::list)),
        ("gateways/get", post(absent::get_gateway)),
        ("gateways/get_plan", post(absent::no_gateways)),
        ("gateways/apply", post(absent::no_gateways)),
        ("gateways/create", post(absent::no_gateways)),
        ("gateways/delete", post(absent::delete)),
        ("gateways/set_default", post(absent::no_gateways)),
        ("gateways/set_wildcard_domain", post(absent::no_gateways)),
        ("exports/list", post(absent::no_exports)),
        ("exports/create", post(absent::no_exports)),
        ("exports/update", post(absent::no_exports)),
        ("exports/delete", post(absent::no_exports)),
        ("imports/list", post(absent::no_imports)),
        ("imports/delete", post(absent::no_imports)),
        ("templates/list", post(absent::list)),
    ];
    let router = ApiRouter::new().route("/api/volumes/list", post(absent::list_all));
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}
