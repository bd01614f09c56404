//! The API as an OpenAPI document, made from the routes and the types of their handlers: what is
//! described is what is served. `api/openapi.json` in the repository is the same text, so that a
//! change of the API shows in its review.

use aide::axum::ApiRouter;
use aide::openapi::{
    Info, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle,
    ReferenceOr, SchemaObject, SecurityScheme,
};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::json_schema;

use super::router::routes;
use crate::context::Context;

/// What the token is called in the document.
pub const SECURITY: &str = "token";

pub async fn get(State(context): State<Context>) -> Response {
    let text = text(&context.settings.version);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The document as JSON, for people and for comparison line by line.
pub fn text(version: &str) -> String {
    let mut text = serde_json::to_string_pretty(&document(version)).unwrap_or_default();
    text.push('\n');
    text
}

fn document(version: &str) -> OpenApi {
    let mut api = OpenApi {
        info: Info {
            title: "dstack server".to_owned(),
            version: version.to_owned(),
            description: Some(ABOUT.to_owned()),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let _served = describe(routes, &mut api);
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
    routes: impl FnOnce() -> ApiRouter<Context>,
    api: &mut OpenApi,
) -> axum::Router<Context> {
    aide::generate::extract_schemas(true);
    routes().finish_api(api)
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
        parameter_data: parameter(name, true, "string"),
        style: PathStyle::Simple,
    }
}

/// A parameter of a simple type.
pub fn parameter(name: &str, required: bool, kind: &str) -> ParameterData {
    ParameterData {
        name: name.to_owned(),
        description: None,
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(SchemaObject {
            json_schema: json_schema!({ "type": kind }),
            example: None,
            external_docs: None,
        }),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_document_is_the_one_that_was_reviewed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/openapi.json");
        let text = text("0.22.5");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the golden file cannot be written");
        }
        let reviewed = std::fs::read_to_string(&path).expect("no golden file");
        let differs = reviewed
            .lines()
            .zip(text.lines())
            .find(|(old, new)| old != new);
        assert!(
            reviewed == text,
            "the API has changed, first at {differs:?}; UPDATE_GOLDEN=1 writes api/openapi.json anew"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = text("0.22.5");
        let document: serde_json::Value = serde_json::from_str(&text).expect("not JSON");
        for part in text.split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
