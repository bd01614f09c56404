//! Which path is answered by whom.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};

use super::{
    absent, cluster, events, files, fleet_plans, fleets, gpus, instances, logs, members, metrics,
    older_clients, projects, repos, run_lists, run_plans, runs, secrets, server, trace, users,
};
use crate::context::Context;
use crate::limits;

/// Everything a replica serves to clients.
pub fn router(context: Context) -> Router {
    // Upstream's upload limit is checked by the handlers, which can say it in words.
    let upload = DefaultBodyLimit::max(upload_limit(&context));
    Router::new()
        .merge(open())
        .merge(people())
        .merge(work())
        .merge(places())
        .merge(uploads().layer(upload))
        .merge(not_here())
        .fallback(absent::unknown)
        .method_not_allowed_fallback(absent::wrong_method)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn(older_clients::adapt))
        .layer(axum::middleware::from_fn(trace::answers))
        .with_state(context)
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
    router: Router<Context>,
    rest: &str,
    handler: MethodRouter<Context>,
) -> Router<Context> {
    router.route(&project(rest), handler)
}

/// Without a token.
fn open() -> Router<Context> {
    Router::new()
        .route("/", get(server::root))
        .route("/healthcheck", get(server::healthcheck))
        .route("/api/server/get_info", post(server::get_info))
        .route("/api/auth/list_providers", post(server::list_providers))
        .route("/api/backends/list_types", post(server::list_backend_types))
}

fn people() -> Router<Context> {
    Router::new()
        .route("/api/users/get_my_user", post(users::get_my_user))
        .route("/api/users/list", post(users::list))
        .route("/api/users/get_user", post(users::get_user))
        .route("/api/users/create", post(users::create))
        .route("/api/users/update", post(users::update))
        .route("/api/users/refresh_token", post(users::refresh_token))
        .route("/api/users/refresh_ssh_key", post(users::refresh_ssh_key))
        .route("/api/users/delete", post(users::delete))
        .route("/api/users/public_keys/list", post(absent::list_all))
        .route("/api/projects/list", post(projects::list))
        .route(
            "/api/projects/list_only_no_fleets",
            post(projects::list_only_no_fleets),
        )
        .route("/api/projects/create", post(projects::create))
        .route("/api/projects/delete", post(projects::delete))
        .route("/api/projects/{project}/get", post(projects::get))
        .route("/api/projects/{project}/update", post(projects::update))
        .route("/api/projects/{project}/set_members", post(members::set))
        .route("/api/projects/{project}/add_members", post(members::add))
        .route(
            "/api/projects/{project}/remove_members",
            post(members::remove),
        )
}

fn work() -> Router<Context> {
    let routes: [(&str, MethodRouter<Context>); 15] = [
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
    let router = Router::new()
        .route("/api/runs/list", post(run_lists::list))
        .route("/api/events/list", post(events::list))
        .route(&project("metrics/job/{run_name}"), get(metrics::job))
        .route(
            "/api/files/get_archive_by_hash",
            post(files::get_archive_by_hash),
        );
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}

fn places() -> Router<Context> {
    let routes: [(&str, MethodRouter<Context>); 7] = [
        ("fleets/list", post(fleets::list)),
        ("fleets/get", post(fleets::get)),
        ("fleets/get_plan", post(fleet_plans::get_plan)),
        ("fleets/apply", post(fleets::apply)),
        ("fleets/delete", post(fleets::delete)),
        ("fleets/delete_instances", post(fleets::delete_instances)),
        ("instances/get", post(instances::get)),
    ];
    let router = Router::new()
        .route("/api/fleets/list", post(fleets::list_all))
        .route("/api/instances/list", post(instances::list))
        .route(
            "/api/cluster/status",
            get(cluster::status).post(cluster::status),
        )
        .route("/api/cluster/add", post(cluster::add))
        .route("/api/cluster/promote", post(cluster::promote))
        .route("/api/cluster/remove", post(cluster::remove));
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}

fn uploads() -> Router<Context> {
    Router::new()
        .route("/api/files/upload_archive", post(files::upload_archive))
        .route(&project("repos/upload_code"), post(repos::upload_code))
}

/// Upstream's paths for things this server does not have.
fn not_here() -> Router<Context> {
    let routes: [(&str, MethodRouter<Context>); 22] = [
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
        ("backends/create", post(absent::no_backends)),
        ("backends/create_yaml", post(absent::no_backends)),
        ("backends/delete", post(absent::no_backends)),
    ];
    let router = Router::new().route("/api/volumes/list", post(absent::list_all));
    routes.into_iter().fold(router, |router, (rest, handler)| {
        in_project(router, rest, handler)
    })
}
