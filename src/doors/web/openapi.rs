//! The description of what the doors serve, made from the code: `GET /openapi.json`.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    SecurityRequirement, Server,
};

const TOKEN: &str = "token";
/// What a route that asks for a token may answer before it looks at anything else.
pub const REFUSALS: [(&str, &str); 3] = [
    ("401", "No token, or a wrong one: `unauthorized`"),
    ("403", "Not with this token, or not from there: `door_not_allowed`, `host_not_allowed`, `origin_not_allowed`"),
    ("429", "More requests than this token may send, `Retry-After` says when to go on: `rate_limited`"),
];

/// What a door serves, described.
#[derive(Clone, Copy)]
pub struct Described {
    /// Makes the description.
    pub make: fn() -> OpenApi,
    /// The name of its errors' schema.
    pub error: &'static str,
}

/// Serves the description.
///
/// Its making touches more of the program than all of the doors' start, and most servers are never asked for it: it is
/// made for the first that asks.
pub fn router(doors: Vec<Described>) -> Router {
    let text: Arc<OnceLock<Bytes>> = Arc::default();
    let made = move || {
        let text = complete(&doors).to_json();
        Bytes::from(text.unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string())))
    };
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.get_or_init(&made).clone());
    Router::new().route("/openapi.json", get(answer))
}

/// What the doors describe, with what holds for all of it.
pub fn complete(doors: &[Described]) -> OpenApi {
    let mut described = OpenApi::default();
    for door in doors {
        described.merge(with_refusals((door.make)(), door.error));
    }
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
    described
}

/// A door's description with the refusals of what needs a token.
fn with_refusals(mut described: OpenApi, error: &str) -> OpenApi {
    for operation in described.paths.paths.values_mut().flat_map(operations) {
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
