//! Which file a request is about, and with which parameters.
//!
//! The path is taken from the raw request target and decoded once: a name need not be text, and one that was encoded
//! twice stays encoded once.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use crate::doors::web::problem::Problem;
use crate::workspace::{ClientPath, PathError, Workspaces};

/// Says whether the request's caller may use a path below the workspaces folder.
#[derive(Clone)]
pub struct PathGuard(pub Arc<dyn Fn(&str) -> bool + Send + Sync>);

/// The workspaces as the request's caller may use them.
pub(super) struct CallerWorkspaces {
    pub(super) workspaces: Workspaces,
}

impl<S: Sync> FromRequestParts<S> for CallerWorkspaces {
    type Rejection = Problem;

    /// Without a guard nobody gets in: a route that was wired up wrongly must not be an open one.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match (parts.extensions.get::<Workspaces>(), parts.extensions.get::<PathGuard>()) {
            (Some(workspaces), Some(PathGuard(guard))) => {
                Ok(Self { workspaces: workspaces.guarded(Arc::clone(guard)) })
            }
            _ => Err(Problem::internal("the files", &"the request came without workspaces or without a guard")),
        }
    }
}

impl CallerWorkspaces {
    /// The path after `/files/`.
    pub(super) fn path(&self, uri: &Uri) -> Result<ClientPath, PathError> {
        self.workspaces.client_path(&named(uri))
    }

    /// The path after `/files/`, of a file that is to be written.
    pub(super) fn file_path(&self, uri: &Uri) -> Result<ClientPath, PathError> {
        self.workspaces.file_path(&named(uri))
    }
}

fn named(uri: &Uri) -> Vec<u8> {
    let below = uri.path().strip_prefix("/files").unwrap_or_default();
    percent_decode_str(below.strip_prefix('/').unwrap_or(below)).collect()
}

/// What stands after the question mark. Unknown names are nobody's business.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        match Query::try_from_uri(uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", error.body_text())),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is on when it is there, unless it says otherwise.
    pub(super) fn switch(&self, name: &'static str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(given) => Err(invalid_parameter(name, given, "true or false")),
        }
    }

    /// A number of entries.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(given) = self.text("limit") else { return Ok(1000) };
        let limit = given.parse().ok().filter(|limit| (1..=10_000).contains(limit));
        limit.ok_or_else(|| invalid_parameter("limit", given, "a whole number from 1 to 10000"))
    }
}

fn invalid_parameter(name: &'static str, given: &str, allowed: &'static str) -> Problem {
    let given: String = given.chars().take(100).collect();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_parameter",
        format!("{name} is {given:?}; allowed is {allowed}"),
    )
    .with("parameter", name)
    .with("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/files?{query}").parse().unwrap()).unwrap()
    }

    #[rstest]
    #[case("", Some(1000))]
    #[case("limit=1", Some(1))]
    #[case("limit=10000", Some(10_000))]
    #[case("limit=5&limit=7", Some(7))]
    #[case("limit=0", None)]
    #[case("limit=10001", None)]
    #[case("limit=-1", None)]
    #[case("limit=", None)]
    #[case("limit=abc", None)]
    #[case("limit=99999999999999999999999", None)]
    #[case("limit=1.5", None)]
    #[case("limit=%ff", None)]
    fn a_limit_is_a_number_in_its_bounds(#[case] query: &str, #[case] expected: Option<usize>) {
        let limit = parameters(query).limit();
        if let Err(problem) = &limit {
            assert_eq!((problem.status().as_u16(), problem.code()), (422, "invalid_parameter"));
            assert!(problem.detail().contains("limit") && problem.detail().contains("10000"), "{}", problem.detail());
        }
        assert_eq!(limit.ok(), expected);
    }

    #[rstest]
    #[case("", Some(false))]
    #[case("recursive", Some(true))]
    #[case("recursive=true", Some(true))]
    #[case("recursive=1", Some(true))]
    #[case("recursive=false", Some(false))]
    #[case("recursive=0", Some(false))]
    #[case("recursive=maybe", None)]
    #[case("recursive=TRUE", None)]
    fn a_switch_is_on_or_off(#[case] query: &str, #[case] expected: Option<bool>) {
        assert_eq!(parameters(query).switch("recursive").ok(), expected);
    }
}
