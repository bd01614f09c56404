//! Answers for clients of earlier versions, which take some fields in older forms only. No client is refused for its
//! version: one that is newer gets the newest form there is, as does one that does not say.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::errors::HttpError;

/// The form every client since this version takes.
const CURRENT: Version = (0, 21, 3);

type Version = (u32, u32, u32);

pub async fn adapt(request: Request, next: Next) -> Response {
    let version = version(request.headers());
    let response = next.run(request).await;
    match version.filter(|version| *version < CURRENT) {
        Some(version) if is_json(&response) => rewrite(response, version).await,
        _ => response,
    }
}

fn version(headers: &HeaderMap) -> Option<Version> {
    let text = headers.get("x-api-version")?.to_str().ok()?.trim();
    let mut parts = text.split('.').map(|part| {
        // `1rc1` counts as 1.
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part.get(..digits).and_then(|digits| digits.parse().ok())
    });
    let version = (
        parts.next()??,
        parts.next()??,
        parts.next().flatten().unwrap_or(0),
    );
    // What development builds say.
    (version != (0, 0, 0)).then_some(version)
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

async fn rewrite(response: Response, version: Version) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => {
            return HttpError::internal("write an answer for an older client", &error)
                .into_response();
        }
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    age(&mut value, version);
    let text = value.to_string();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(parts, Body::from(text))
}

/// Brings everything in the answer into the form of that version.
fn age(value: &mut Value, version: Version) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| age(one, version)),
        Value::Object(map) => {
            map.values_mut().for_each(|one| age(one, version));
            if version < (0, 20, 14)
                && let Some(Value::Array(fleets)) = map.get_mut("fleets")
            {
                fleets.iter_mut().for_each(as_text);
            }
            if map.get("type").and_then(Value::as_str) == Some("service") {
                service(map, version);
            }
        }
        _ => {}
    }
}

fn service(map: &mut Map<String, Value>, version: Version) {
    if map.get("groups").is_some_and(Value::is_array) {
        let mut groups = map.remove("groups").unwrap_or_default();
        for group in groups.as_array_mut().into_iter().flatten() {
            if let Some(group) = group.as_object_mut() {
                let count = group.remove("replicas").unwrap_or_default();
                group.insert("count".to_owned(), count);
            }
        }
        map.insert("replicas".to_owned(), groups);
        map.insert("groups".to_owned(), Value::Null);
    }
    if version < (0, 20, 8) {
        replace_null(map, "probes", Value::Array(Vec::new()));
    }
    if version < (0, 20, 12) {
        replace_null(map, "https", Value::Bool(true));
    }
    if version < (0, 20, 20)
        && let Some(gateway) = map.get_mut("gateway")
    {
        as_text(gateway);
    }
}

fn replace_null(map: &mut Map<String, Value>, name: &str, with: Value) {
    if map.get(name).is_some_and(Value::is_null) {
        map.insert(name.to_owned(), with);
    }
}

/// `{"project": p, "name": n}` as `p/n`.
fn as_text(reference: &mut Value) {
    let Some(map) = reference.as_object() else {
        return;
    };
    let Some(name) = map.get("name").and_then(Value::as_str) else {
        return;
    };
    let text = match map.get("project").and_then(Value::as_str) {
        Some(project) => format!("{project}/{name}"),
        None => name.to_owned(),
    };
    *reference = Value::String(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(text: &'static str) -> Option<Version> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-version", HeaderValue::from_static(text));
        version(&headers)
    }

    #[test]
    fn versions_are_read_and_what_is_none_is_newest() {
        assert_eq!(said("0.20.13"), Some((0, 20, 13)));
        assert_eq!(said("0.20.0rc1"), Some((0, 20, 0)));
        assert_eq!(said("0.20"), Some((0, 20, 0)));
        for newest in ["latest", "0.0.0", "0.0.0dev1", "", "x.y.z"] {
            assert_eq!(said(newest), None, "{newest}");
        }
        assert_eq!(version(&HeaderMap::new()), None);
    }

    #[test]
    fn each_version_gets_the_form_it_knows() {
        let run = json!({"run_spec": {
            "configuration": {"type": "service", "probes": null, "https": null,
                "gateway": {"project": "p", "name": "g"}, "replicas": null,
                "groups": [{"name": "a", "replicas": {"min": 1, "max": 2}}],
                "fleets": [{"project": null, "name": "lab"}, {"project": "p", "name": "x"}]},
            "profile": {"fleets": null},
        }});
        let aged = |version| {
            let mut run = run.clone();
            age(&mut run, version);
            run["run_spec"]["configuration"].clone()
        };
        let oldest = aged((0, 20, 0));
        assert_eq!(oldest["probes"], json!([]));
        assert_eq!(oldest["https"], json!(true));
        assert_eq!(oldest["gateway"], "p/g");
        assert_eq!(oldest["fleets"], json!(["lab", "p/x"]));
        assert_eq!(oldest["replicas"][0]["count"], json!({"min": 1, "max": 2}));
        let newer = aged((0, 21, 0));
        assert_eq!(newer["probes"], Value::Null);
        assert_eq!(newer["gateway"]["name"], "g");
        assert_eq!(newer["groups"], Value::Null);
    }
}
