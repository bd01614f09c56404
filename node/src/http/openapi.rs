//! The API as an OpenAPI document, made from the routes and the types of their handlers: what is
//! described is what is served. `api/openapi.json` in the repository is the same text, so that a
//! change of the API shows in its review.

use aide::axum::ApiRouter;
use aide::generate::GenContext;
use aide::openapi::{
    Info, MediaType, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent,
    PathStyle, ReferenceOr, Response, SchemaObject, SecurityScheme,
};
use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use schemars::{JsonSchema, json_schema};

use super::router::calls;
use crate::context::Context;

/// What the token is called in the document.
pub const SECURITY: &str = "token";

pub async fn get(State(context): State<Context>) -> Json<OpenApi> {
    Json(document(&context.settings.version))
}

/// What a server of this version of the API serves.
pub fn document(version: &str) -> OpenApi {
    let mut api = OpenApi {
        info: Info {
            title: "dstack server".to_owned(),
            version: version.to_owned(),
            description: Some(ABOUT.to_owned()),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let _served = describe(|| calls(DefaultBodyLimit::disable()), &mut api);
    let components = api.components.get_or_insert_default();
    let scheme = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: None,
        description: Some("The token of a user.".to_owned()),
        extensions: Default::default(),
    };
    components
        .security_schemes
        .insert(SECURITY.to_owned(), ReferenceOr::Item(scheme));
    components.schemas.sort_keys();
    name_operations(&mut api);
    api
}

/// Turns described routes into served ones. Schemas are gathered while the routes are made.
pub fn describe(
    calls: impl FnOnce() -> ApiRouter<Context>,
    api: &mut OpenApi,
) -> axum::Router<Context> {
    aide::generate::extract_schemas(true);
    calls().finish_api(api)
}

const ABOUT: &str = "Every replica answers every call. What a user should read is a 400 whose \
`detail` is a list of one object with `msg` and `code`. A write may carry `X-Request-Id`: sent \
again with the same id, it is done once. Answers carry `X-Dstack-Revision`, the log index that \
they reflect.";

fn name_operations(api: &mut OpenApi) {
    let Some(paths) = &mut api.paths else { return };
    paths.paths.sort_keys();
    for (path, item) in &mut paths.paths {
        let ReferenceOr::Item(item) = item else {
            continue;
        };
        let calls = [("get", &mut item.get), ("post", &mut item.post)];
        for (method, call) in calls {
            if let Some(call) = call {
                name(call, method, path);
            }
        }
    }
}

/// `/api/project/{project}/runs/get_plan` is `post_runs_get_plan` among the `runs`.
fn name(call: &mut Operation, method: &str, path: &str) {
    let (fixed, open): (Vec<&str>, Vec<&str>) = path
        .split('/')
        .filter(|part| !part.is_empty() && !matches!(*part, "api" | "project"))
        .partition(|part| !part.starts_with('{'));
    let id = std::iter::once(method).chain(fixed.iter().copied());
    call.operation_id = Some(id.collect::<Vec<_>>().join("_"));
    call.tags = fixed
        .first()
        .map(|first| (*first).to_owned())
        .into_iter()
        .collect();
    let parameters = open
        .iter()
        .map(|part| ReferenceOr::Item(in_path(part.trim_matches(['{', '}']))));
    call.parameters.splice(0..0, parameters);
}

fn in_path(name: &str) -> Parameter {
    Parameter::Path {
        parameter_data: text_parameter(name, true),
        style: PathStyle::Simple,
    }
}

/// A parameter that is any text.
pub fn text_parameter(name: &str, required: bool) -> ParameterData {
    ParameterData {
        name: name.to_owned(),
        description: None,
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(SchemaObject {
            json_schema: json_schema!({ "type": "string" }),
            example: None,
            external_docs: None,
        }),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    }
}

/// A JSON answer with this status.
pub fn answer<T: JsonSchema>(
    context: &mut GenContext,
    status: u16,
    when: &str,
) -> (Option<u16>, Response) {
    let body = MediaType {
        schema: Some(SchemaObject {
            json_schema: context.schema.subschema_for::<T>(),
            example: None,
            external_docs: None,
        }),
        ..MediaType::default()
    };
    let response = Response {
        description: when.to_owned(),
        content: [("application/json".to_owned(), body)]
            .into_iter()
            .collect(),
        ..Response::default()
    };
    (Some(status), response)
}
