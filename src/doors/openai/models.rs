//! Names of models: the CLI's aliases, and whatever else its API knows.

use std::sync::LazyLock;

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ErrorBody;
use crate::doors::http::parameters::Path;
use crate::doors::http::problem::Problem;

/// The CLI's aliases. Full names work too, but which there are only its API knows.
const ALIASES: [&str; 5] = ["haiku", "sonnet", "opus", "opusplan", "sonnet[1m]"];
const LONGEST_NAME: usize = 200;

/// When this server learnt of the aliases, seconds since 1970: clients want a time, and an alias has none.
static SINCE: LazyLock<i64> = LazyLock::new(|| chrono::Utc::now().timestamp());

/// List the models.
#[utoipa::path(
    get, operation_id = "listModels", path = "/models", tag = "openai",
    responses((status = 200, description = "The CLI's aliases", body = Object)),
)]
pub(super) async fn list() -> Json<Value> {
    Json(json!({"object": "list", "data": ALIASES.map(model)}))
}

/// Look a model up.
#[utoipa::path(
    get, operation_id = "model", path = "/models/{id}", tag = "openai", 
    params(("id" = String, Path, description = "Its name", example = "haiku")),
    responses(
        (status = 200, description = "The model", body = Object),
        (status = 404, description = "No such model: `model_not_found`", body = ErrorBody),
    ),
)]
pub(super) async fn one(Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let name = without_provider(&id);
    if ALIASES.contains(&name) || name.starts_with("claude-") { Ok(Json(model(&id))) } else { Err(unknown(&id)) }
}

/// `GET /models/{provider}/{id}`.
pub(super) async fn of_provider(Path((provider, id)): Path<(String, String)>) -> Result<Json<Value>, Problem> {
    one(Path(format!("{provider}/{id}"))).await
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": *SINCE, "owned_by": "anthropic"})
}

/// The answer to a model that there is not.
pub(super) fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(LONGEST_NAME).collect();
    let allowed = ALIASES.join(", ");
    let detail = format!("there is no model {shown:?}; allowed are {allowed} and the full names that the API knows");
    Problem::new(StatusCode::NOT_FOUND, "model_not_found", detail)
        .with("field", "model")
        .with("allowed", ALIASES.to_vec())
}

/// What the CLI is given for the name that a client gives: without the provider that routers put before it.
pub(super) fn asked(name: &str) -> Result<Option<String>, Problem> {
    let plain = without_provider(name.trim());
    if plain.len() > LONGEST_NAME || plain.starts_with('-') || plain.contains(char::is_control) {
        return Err(unknown(name));
    }
    Ok((!plain.is_empty()).then(|| plain.to_owned()))
}

/// `openai/haiku` is `haiku`. A slash inside an ARN is part of the name.
fn without_provider(name: &str) -> &str {
    if name.starts_with("arn:") { name } else { name.rsplit('/').next().unwrap_or(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("haiku", Some("haiku"))]
    #[case("openai/sonnet[1m]", Some("sonnet[1m]"))]
    #[case("litellm/anthropic/claude-opus-5-5", Some("claude-opus-5-5"))]
    #[case("arn:aws:bedrock:eu-west-1:1:inference-profile/x", Some("arn:aws:bedrock:eu-west-1:1:inference-profile/x"))]
    #[case("", None)]
    #[case(" ", None)]
    fn a_provider_is_left_out(#[case] name: &str, #[case] model: Option<&str>) {
        assert_eq!(asked(name).unwrap().as_deref(), model);
    }

    #[rstest]
    #[case("--help")]
    #[case("x/--help")]
    #[case("a\nb")]
    #[case(&"x".repeat(LONGEST_NAME + 1))]
    fn what_can_be_no_model_is_unknown(#[case] name: &str) {
        assert_eq!(asked(name).unwrap_err().code(), "model_not_found");
    }
}
