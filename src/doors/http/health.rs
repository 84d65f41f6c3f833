//! Is it alive, can it take a run, and its figures.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::figures::Format;
use super::inside::Inside;
use crate::doors::web::problem::{Problem, ProblemBody};

/// Routes that need no token.
pub(super) fn open_routes() -> Router<Inside> {
    Router::new().route("/health", get(health)).route("/healthz", get(healthz)).route("/ready", get(ready))
}

/// Routes that need one.
pub(super) fn router() -> Router<Inside> {
    Router::new().route("/metrics", get(metrics))
}

/// What is served here.
#[derive(OpenApi)]
#[openapi(paths(health, healthz, ready, metrics))]
pub(super) struct Described;

/// It answers.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the server is alive.
#[utoipa::path(get, operation_id = "health", path = "/health", tag = "health", responses((status = 200, description = "It is", body = Alive)), security(()))]
async fn health() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the server is alive, by the name that the predecessor gave it later.
#[utoipa::path(get, operation_id = "healthz", path = "/healthz", tag = "health", responses((status = 200, description = "It is", body = Alive)), security(()))]
async fn healthz() -> Json<Alive> {
    health().await
}

/// Whether a run can be started now.
#[utoipa::path(
    get, operation_id = "ready", path = "/ready", tag = "health", security(()),
    responses(
        (status = 200, description = "It can", body = Alive),
        (status = 503, description = "It cannot, and why: `not_ready`", body = ProblemBody),
    ),
)]
async fn ready(State(inside): State<Inside>) -> Result<Json<Alive>, Problem> {
    let why = if inside.desk.engine.status().open {
        (inside.readiness)().err()
    } else {
        Some("the server is shutting down".into())
    };
    match why {
        None => Ok(Json(Alive { status: "ok" })),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why)),
    }
}

/// The server's figures, for Prometheus.
#[utoipa::path(
    get, operation_id = "metrics", path = "/metrics", tag = "health",
    responses((status = 200, description = "Prometheus's text, or OpenMetrics for whoever accepts that", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    ))),
)]
async fn metrics(State(inside): State<Inside>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut text = String::new();
    encode(&mut text, &inside.registry).map_err(|error| Problem::internal("encoding the metrics", &error))?;
    let format = Format::accepted(&headers);
    let about = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")];
    Ok((about, format.written(text)).into_response())
}
