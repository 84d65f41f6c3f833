//! A request's target and framing, before anything looks at them.
//!
//! People and libraries put addresses together from parts, and leave a slash too much: `/run/`, `//health`. The routes
//! know each address once. Below `/files` a slash has a meaning of its own, so those addresses stay as they are.

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{self, StatusCode, Uri, header};

use super::problem::Problem;

/// What is below here is a path of the client's.
const FILES: &str = "/files/";

/// The request with its address as the routes know it.
pub(super) fn addressed<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(path) = normal(request.uri().path()) {
        *request.uri_mut() = with_path(request.uri(), &path);
    }
    request
}

/// The path without slashes that say nothing; `None` if it has none.
fn normal(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.starts_with(FILES) {
        return None;
    }
    // Nearly all of them, which are not to pay for the others.
    if path == "/" || !(path.ends_with('/') || path.contains("//")) {
        return None;
    }
    let below = path.trim_start_matches('/');
    let files = &FILES[1..];
    let normal = if below.starts_with(files) {
        format!("/{below}")
    } else {
        let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
        format!("/{}", parts.join("/"))
    };
    (normal != path).then_some(normal)
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    // Parts of what was parsed before: this cannot fail. If it did, the address would be one that is not served.
    let Ok(target) = target.parse::<PathAndQuery>() else { return uri.clone() };
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Refuses a coding of the whole message that is not undone here: its body would be taken for what it holds.
pub(super) fn check_coding(request: &Request) -> Result<(), Problem> {
    let codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = codings.map(|value| value.to_str().unwrap_or_default().trim());
    match codings.find(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        None => Ok(()),
        Some(coding) => {
            let detail = format!("the Transfer-Encoding is {coding:?}: send the body as it is, or chunked");
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "transfer_encoding_not_supported", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use proptest::prelude::*;
    use rstest::rstest;

    fn normalised(target: &str) -> String {
        addressed(Request::get(target).body(Body::empty()).unwrap()).uri().to_string()
    }

    #[rstest]
    #[case("/", "/")]
    #[case("//", "/")]
    #[case("/run/", "/run")]
    #[case("//run//result///?runId=1//2/", "/run/result?runId=1//2/")]
    #[case("/openai/v1/models/", "/openai/v1/models")]
    #[case("/files", "/files")]
    #[case("/files/", "/files/")]
    #[case("//files//a//b/", "/files//a//b/")]
    #[case("/files/a/", "/files/a/")]
    #[case("/filesystem//", "/filesystem")]
    #[case("/a%2F%2Fb/", "/a%2F%2Fb")]
    #[case("http://box//run/", "http://box/run")]
    #[case("*", "*")]
    fn a_slash_too_much_says_nothing(#[case] target: &str, #[case] normal: &str) {
        assert_eq!(normalised(target), normal);
    }

    proptest! {
        #[test]
        fn what_is_normal_stays(path in "(/[a-z.%]{0,3}){1,6}/?") {
            let once = normal(&path).unwrap_or(path);
            prop_assert_eq!(normal(&once), None);
        }
    }

    #[rstest]
    #[case(&[], true)]
    #[case(&["chunked"], true)]
    #[case(&["Chunked "], true)]
    #[case(&["gzip, chunked"], false)]
    #[case(&["gzip", "chunked"], false)]
    #[case(&["identity"], false)]
    fn only_chunks_are_undone(#[case] codings: &[&str], #[case] taken: bool) {
        let mut request = Request::post("/run");
        for coding in codings {
            request = request.header(header::TRANSFER_ENCODING, *coding);
        }
        let checked = check_coding(&request.body(Body::empty()).unwrap());
        assert_eq!(checked.is_ok(), taken);
        assert!(checked.err().is_none_or(|problem| problem.status() == StatusCode::NOT_IMPLEMENTED));
    }
}
