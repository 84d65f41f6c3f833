//! The API's description, made from the code: `GET /openapi.json`.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, SecurityRequirement};

use super::app::App;

const TOKEN: &str = "token";

/// Serves `described`, completed with what holds for all of it.
pub(super) fn router(mut described: OpenApi) -> Router<App> {
    described.info = InfoBuilder::new()
        .title("claudebox")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Runs Claude Code in workspaces. Errors are `{\"detail\": ..., \"code\": ...}`."))
        .build();
    let components = described.components.get_or_insert_with(|| ComponentsBuilder::new().build());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    described.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    let text = described.to_json().unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string()));
    let text = Bytes::from(text);
    Router::new()
        .route("/openapi.json", get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text) }))
}
