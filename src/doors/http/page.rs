//! The page: a console for people and a reading view of the API, in one page that is part of the binary.
//!
//! It holds no data and needs no token to load; the person types the token, and it goes with each call. What protects
//! it is its policy: the browser runs nothing but our own script, and speaks to nobody but us. So script and style are
//! files of their own, and no text of a run can become either.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

/// What the browser may do with the page.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file: its path, its type, its text.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/docs", HTML, include_str!("page/index.html")),
    ("/page/app.css", "text/css; charset=utf-8", include_str!("page/app.css")),
    ("/page/app.js", JAVASCRIPT, include_str!("page/app.js")),
    ("/page/api.js", JAVASCRIPT, include_str!("page/api.js")),
    ("/page/client.js", JAVASCRIPT, include_str!("page/client.js")),
    ("/page/files.js", JAVASCRIPT, include_str!("page/files.js")),
];

/// `/`, `/docs` and the files they load. No route here needs a token.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        let file = Arc::new(File::new(content_type, text));
        router.route(path, get(async move |headers: HeaderMap| file.answer(&headers)))
    })
}

struct File {
    content_type: &'static str,
    text: &'static str,
    etag: HeaderValue,
}

impl File {
    fn new(content_type: &'static str, text: &'static str) -> Self {
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(text)[..12] {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let etag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, text, etag }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let headers = [
            (ETAG, self.etag.clone()),
            // A new binary's page must not run the old one's script.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        if self.is_known_to(request) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        ([(CONTENT_TYPE, self.content_type)], headers, self.text).into_response()
    }

    /// Whether the browser says that it has this very text.
    fn is_known_to(&self, request: &HeaderMap) -> bool {
        let lists = request.get_all(IF_NONE_MATCH).into_iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(str::trim).any(|tag| {
            // A proxy that packs the text makes the tag a weak one.
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use rstest::rstest;
    use tower::ServiceExt as _;

    async fn ask(path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let response = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap())
    }

    #[rstest]
    #[case("/", HTML, "<!doctype html>")]
    #[case("/docs", HTML, "<!doctype html>")]
    #[case("/page/app.css", "text/css; charset=utf-8", ":root")]
    #[case("/page/app.js", JAVASCRIPT, "import ")]
    #[case("/page/api.js", JAVASCRIPT, "import ")]
    #[case("/page/client.js", JAVASCRIPT, "export ")]
    #[case("/page/files.js", JAVASCRIPT, "export ")]
    #[tokio::test]
    async fn each_is_served_with_its_type_and_policy(#[case] path: &str, #[case] kind: &str, #[case] holds: &str) {
        let (status, headers, body) = ask(path, None).await;
        assert_eq!((status, headers[CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, kind));
        assert!(body.contains(holds));
        assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    /// Every file that one of them loads is there.
    #[tokio::test]
    async fn nothing_that_is_loaded_is_missing() {
        let mut loaded = 0;
        for (_, _, text) in FILES {
            for part in text.split(['"', '\'']) {
                let path = part.strip_prefix("./").map(|name| format!("page/{name}")).unwrap_or(part.to_owned());
                if path.starts_with("page/") {
                    assert_eq!(ask(&format!("/{path}"), None).await.0, StatusCode::OK, "{path}");
                    loaded += 1;
                }
            }
        }
        assert!(loaded > 8, "only {loaded} were found");
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let (_, headers, _) = ask("/page/app.js", None).await;
        let etag = headers[ETAG].to_str().unwrap().to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".into()] {
            let (status, headers, body) = ask("/page/app.js", Some(&known)).await;
            assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
            assert_eq!(headers[ETAG].to_str().unwrap(), etag);
        }
        assert_eq!(ask("/page/app.css", Some(&etag)).await.0, StatusCode::OK);
    }

    /// The policy would stop these at run time, and the page would be broken; here they are found earlier.
    #[test]
    fn the_page_keeps_its_own_policy() {
        for (path, kind, text) in FILES {
            let refused: &[&str] = match kind {
                HTML => &["<style", " style=", " onclick=", " src=\"http", " href=\"http", "<base"],
                JAVASCRIPT => &["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "://"],
                _ => &["@import", "url("],
            };
            for pattern in refused {
                assert!(!text.contains(pattern), "{pattern} in {path}");
            }
            assert_eq!(text.matches("<script").count(), text.matches("<script src=\"page/").count(), "{path}");
        }
    }
}
