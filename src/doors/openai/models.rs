//! Names of models: the CLI's aliases, and whatever else its API knows.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::ErrorBody;
use crate::config::name::OPENAI_MODELS;
use crate::desk::refusal::{Kind, Refusal};
use crate::doors::web::parameters::Path;
use crate::doors::web::problem::Problem;

/// The CLI's aliases. Full names work too, but which there are only its API knows.
const ALIASES: [&str; 5] = ["haiku", "sonnet", "opus", "opusplan", "sonnet[1m]"];
const LONGEST_NAME: usize = 200;

/// Names that a client may give for the CLI's: `CLAUDEBOX_OPENAI_MODELS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models(Vec<(String, String)>);

/// The name that stands for every one that is not known.
const ANY: &str = "*";
/// What the account has by default.
const DEFAULT: &str = "default";

impl Models {
    /// Of pairs of a client's name and the CLI's.
    #[must_use]
    pub const fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(theirs, _)| theirs == name).map(|(_, ours)| ours.as_str())
    }

    /// The names to list, the CLI's own first.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mapped = self.0.iter().map(|(theirs, _)| theirs.as_str());
        ALIASES.into_iter().chain(mapped.filter(|name| *name != ANY && !ALIASES.contains(name)))
    }
}

/// When this server learnt of the aliases, seconds since 1970: clients want a time, and an alias has none.
static SINCE: LazyLock<i64> = LazyLock::new(|| chrono::Utc::now().timestamp());

/// List the models.
#[utoipa::path(
    get, operation_id = "listModels", path = "/models", tag = "openai",
    responses((status = 200, description = "The CLI's aliases", body = Object)),
)]
pub(super) async fn list(State(models): State<Arc<Models>>) -> Json<Value> {
    let data: Vec<Value> = models.names().map(model).collect();
    Json(json!({"object": "list", "data": data}))
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
pub(super) async fn one(State(models): State<Arc<Models>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    asked(&models, &id)?;
    Ok(Json(model(&id)))
}

/// `GET /models/{provider}/{id}`.
pub(super) async fn of_provider(
    models: State<Arc<Models>>,
    Path((provider, id)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    one(models, Path(format!("{provider}/{id}"))).await
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": *SINCE, "owned_by": "anthropic"})
}

/// The answer to a model that there is not.
fn unknown(models: &Models, id: &str) -> Refusal {
    let shown: String = id.chars().take(LONGEST_NAME).collect();
    let names: Vec<&str> = models.names().collect();
    let allowed = names.join(", ");
    let detail = format!(
        "there is no model {shown:?}; allowed are {allowed} and full names of Claude models; {OPENAI_MODELS} of the box \
         gives other names to them ({shown}=sonnet, or *=default for every name)"
    );
    Refusal::new(Kind::Missing, "model_not_found", detail).with("field", "model").with("allowed", names)
}

/// What the CLI is given for the name that a client gives: without the provider that routers put before it. `None` is
/// the account's default.
pub(super) fn asked(models: &Models, name: &str) -> Result<Option<String>, Refusal> {
    let plain = without_provider(name.trim());
    if plain.len() > LONGEST_NAME || plain.starts_with('-') || plain.contains(char::is_control) {
        return Err(unknown(models, name));
    }
    let mapped = models.of(name.trim()).or_else(|| models.of(plain));
    let model = match mapped {
        Some(mapped) => mapped,
        None if plain.is_empty() || is_known(plain) => plain,
        None => models.of(ANY).ok_or_else(|| unknown(models, name))?,
    };
    Ok((!model.is_empty() && model != DEFAULT).then(|| model.to_owned()))
}

/// Whether the CLI can know a name: its aliases, and what models of Claude are called at Anthropic, Amazon and Google.
fn is_known(name: &str) -> bool {
    let base = name.split('[').next().unwrap_or(name);
    ALIASES.contains(&base) || base == DEFAULT || base.contains("claude") || base.starts_with("arn:")
}

/// `openai/haiku` is `haiku`. A slash inside an ARN is part of the name.
fn without_provider(name: &str) -> &str {
    if name.starts_with("arn:") { name } else { name.rsplit('/').next().unwrap_or(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::openai::error::WORDS;
    use rstest::rstest;

    #[rstest]
    #[case("haiku", Some("haiku"))]
    #[case("openai/sonnet[1m]", Some("sonnet[1m]"))]
    #[case("litellm/anthropic/claude-opus-5-5", Some("claude-opus-5-5"))]
    #[case("arn:aws:bedrock:eu-west-1:1:inference-profile/x", Some("arn:aws:bedrock:eu-west-1:1:inference-profile/x"))]
    #[case("opus[1m]", Some("opus[1m]"))]
    #[case("us.anthropic.claude-opus-5-5-v1:0", Some("us.anthropic.claude-opus-5-5-v1:0"))]
    #[case("default", None)]
    #[case("", None)]
    #[case(" ", None)]
    fn a_provider_is_left_out(#[case] name: &str, #[case] model: Option<&str>) {
        assert_eq!(asked(&Models::default(), name).unwrap().as_deref(), model);
    }

    #[rstest]
    #[case("gpt-4o")]
    #[case("openai/o3")]
    #[case("--help")]
    #[case("x/--help")]
    #[case("a\nb")]
    #[case(&"x".repeat(LONGEST_NAME + 1))]
    fn what_can_be_no_model_is_unknown(#[case] name: &str) {
        assert_eq!(asked(&Models::default(), name).unwrap_err().code(), "model_not_found");
    }

    #[test]
    fn other_names_stand_for_the_clis() {
        let pair = |theirs: &str, ours: &str| (theirs.to_owned(), ours.to_owned());
        let some = Models::new(vec![pair("gpt-4o", "sonnet"), pair("gateway", "gpt-5"), pair("haiku", "opus")]);
        let taken = |models: &Models, name: &str| asked(models, name).map_err(|refusal| refusal.detail(&WORDS));
        assert_eq!(taken(&some, "gpt-4o"), Ok(Some("sonnet".into())));
        assert_eq!(taken(&some, "openai/gpt-4o"), Ok(Some("sonnet".into())));
        // What stands for a name is the owner's word: a gateway has names of its own.
        assert_eq!(taken(&some, "gateway"), Ok(Some("gpt-5".into())));
        assert_eq!(taken(&some, "haiku"), Ok(Some("opus".into())));
        assert!(taken(&some, "o3").unwrap_err().contains(OPENAI_MODELS));
        assert_eq!(some.names().collect::<Vec<_>>()[5..], ["gpt-4o", "gateway"]);
        let every = Models::new(vec![pair("*", "default")]);
        assert_eq!((taken(&every, "o3"), taken(&every, "opus")), (Ok(None), Ok(Some("opus".into()))));
        assert_eq!(every.names().count(), ALIASES.len());
    }
}
