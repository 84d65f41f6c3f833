//! What the doors serve over HTTP, put together.

use std::sync::Arc;

use axum::Router;

use crate::doors::web::auth::{Authenticator, protect};
use crate::doors::web::openapi::{self, Described};
use crate::doors::web::origin::Origins;
use crate::doors::web::parameters::BodyLimit;
use crate::doors::web::{Routes, Shape, stack};

/// What stands around the routes.
pub struct Around {
    /// Who may call.
    pub authenticator: Arc<Authenticator>,
    /// From where.
    pub origins: Origins,
    /// Longest JSON body.
    pub body_limit: BodyLimit,
    /// Gives problems the shape of the door they are told at.
    pub shape: Shape,
}

/// All routes of these doors, each behind its tokens, with their description.
pub fn router(doors: Vec<Routes>, around: Around) -> Router {
    let described: Vec<Described> = doors.iter().filter_map(|door| door.described).collect();
    let mut router = openapi::router(described);
    for door in doors {
        let protected = protect(door.protected, &around.authenticator, door.name, door.token_in_query);
        router = router.merge(protected).merge(door.open);
    }
    stack::wrap(router, around.origins, around.body_limit, around.shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    use crate::doors::{http, openai};

    fn operations() -> Vec<Value> {
        let described = serde_json::to_value(openapi::complete(&[http::DESCRIBED, openai::DESCRIBED])).unwrap();
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
            for (status, _) in openapi::REFUSALS {
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
