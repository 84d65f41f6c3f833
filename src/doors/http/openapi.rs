//! The API's description, made from the code: `GET /openapi.json`.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    SecurityRequirement, Server,
};

use super::app::App;
use super::{files, health, runs};
use crate::doors::openai;

const TOKEN: &str = "token";
/// What a route that asks for a token may answer before it looks at anything else.
const REFUSALS: [(&str, &str); 3] = [
    ("401", "No token, or a wrong one: `unauthorized`"),
    ("403", "Not with this token, or not from there: `door_not_allowed`, `host_not_allowed`, `origin_not_allowed`"),
    ("429", "More requests than this token may send, `Retry-After` says when to go on: `rate_limited`"),
];

/// Serves the description.
///
/// Its making touches more of the program than all of the doors' start, and most servers are never asked for it: it is
/// made for the first that asks.
pub(super) fn router() -> Router<App> {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let text = complete().to_json();
        Bytes::from(text.unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string())))
    });
    Router::new().route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())))
}

/// What the doors describe, with what holds for all of it.
fn complete() -> OpenApi {
    let mut described = health::Described::openapi();
    described.merge(runs::Described::openapi());
    described.merge(files::Described::openapi());
    let mut described = described.nest(openai::BASE, openai::Described::openapi());
    described.info = InfoBuilder::new()
        .title("claudebox")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Runs Claude Code in workspaces. Errors are `{\"detail\": ..., \"code\": ...}`."))
        .build();
    // Wherever the description itself came from.
    described.servers = Some(vec![Server::new("/")]);
    let components = described.components.get_or_insert_with(|| ComponentsBuilder::new().build());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    described.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    let all = described.paths.paths.iter_mut();
    for (path, operation) in all.flat_map(|(path, item)| operations(item).map(move |operation| (path, operation))) {
        let error = if path.starts_with(openai::PREFIX) { "OpenAiError" } else { "Problem" };
        operation.parameters.iter_mut().flatten().for_each(never_null);
        // What needs no token says so itself.
        if operation.security.is_none() {
            for (status, description) in REFUSALS {
                let answers = &mut operation.responses.responses;
                answers.entry(status.to_owned()).or_insert_with(|| refusal(description, error).into());
            }
        }
    }
    described
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
}

/// What may be left out of a query or a header cannot be null there: `null` would be the word.
fn never_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    match &mut parameter.schema {
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = types.as_slice() {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        Some(RefOr::T(Schema::OneOf(one))) => {
            let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
            one.items.retain(|item| !is_null(item));
        }
        _ => {}
    }
}

fn refusal(description: &str, error: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(error))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    fn operations() -> Vec<Value> {
        let described = serde_json::to_value(complete()).unwrap();
        let paths = described["paths"].as_object().unwrap();
        paths.values().flat_map(|path| path.as_object().unwrap().values().cloned()).collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: Vec<Value> = operations().into_iter().map(|operation| operation["operationId"].clone()).collect();
        let different: HashSet<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!((different.len(), names.len()), (21, 21), "{names:?}");
    }

    #[test]
    fn what_asks_for_a_token_says_so() {
        let (open, closed): (Vec<Value>, Vec<Value>) =
            operations().into_iter().partition(|operation| operation.get("security").is_some());
        let names: Vec<&str> = open.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names, ["health", "healthz", "ready"]);
        for operation in closed {
            for (status, _) in REFUSALS {
                assert!(operation["responses"].get(status).is_some(), "{status}: {operation}");
            }
        }
    }

    #[test]
    fn no_parameter_can_be_null() {
        for parameter in operations().iter().filter_map(|operation| operation["parameters"].as_array()).flatten() {
            assert!(!parameter["schema"].to_string().contains("null"), "{parameter}");
        }
    }
}
