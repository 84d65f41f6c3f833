use super::*;
use crate::config::secret::Secret;
use axum::body::Body;
use axum::routing::get;
use axum::{Router, middleware};
use rstest::rstest;
use tower::ServiceExt as _;

fn config(token: bool, hosts: &[&str], origins: &[&str]) -> HttpConfig {
    let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    HttpConfig {
        bind: [0, 0, 0, 0].into(),
        port: 8080,
        token: token.then(|| Secret::new("t".into())),
        tokens_file: None,
        hosts: list(hosts),
        origins: list(origins),
        openai_models: Vec::new(),
        body_limit: 1024,
        upload_limit: None,
        connections: 8,
    }
}

async fn answer(config: &HttpConfig, request: Request) -> Response {
    let origins = Arc::new(Origins::new(config, "Thebox.lan").unwrap());
    let router = Router::new().route("/", get(|| async { "in" }).post(|| async { "in" }));
    let router = router.route("/health", get(|| async { "in" }));
    router.layer(middleware::from_fn_with_state(origins, check_origin)).oneshot(request).await.unwrap()
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = axum::http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

const EXAMPLE: &[&str] = &["box.example.com", "*.wild.example"];

#[rstest]
// An open server that lists no names: what nobody else can own.
#[case(false, &[], "127.0.0.1:8080", 200)]
#[case(false, &[], "192.168.1.5", 200)]
#[case(false, &[], "[::1]:8080", 200)]
#[case(false, &[], "localhost:8080", 200)]
#[case(false, &[], "LOCALHOST.", 200)]
#[case(false, &[], "app.localhost", 200)]
#[case(false, &[], "claudebox:8080", 200)]
#[case(false, &[], "my_service", 200)]
#[case(false, &[], "host.docker.internal", 200)]
#[case(false, &[], "thebox.lan:8080", 200)]
#[case(false, &[], "evil.example:8080", 403)]
#[case(false, &[], "localhost.evil.example", 403)]
#[case(false, &[], "127.0.0.1.evil.example", 403)]
#[case(false, &[], "notlocalhost.com", 403)]
#[case(false, &[], "user@localhost", 400)]
#[case(false, &[], "[::1]x", 400)]
#[case(false, &[], "[::1]x:80", 400)]
#[case(false, &[], "localhost:80x", 400)]
#[case(false, &[], "localhost:", 200)]
#[case(false, &[], "a b", 400)]
#[case(false, &[], "", 400)]
// With a token a name of a stranger's opens nothing.
#[case(true, &[], "evil.example", 200)]
// Listed names are enforced with a token and without.
#[case(false, EXAMPLE, "box.example.com", 200)]
#[case(true, EXAMPLE, "BOX.example.com:81", 200)]
#[case(true, EXAMPLE, "a.wild.example", 200)]
#[case(true, EXAMPLE, "a.b.wild.example", 200)]
#[case(true, EXAMPLE, "wild.example", 403)]
#[case(true, EXAMPLE, "notwild.example", 403)]
#[case(true, EXAMPLE, "evil.example", 403)]
#[case(true, EXAMPLE, "10.0.0.1", 200)]
#[case(true, EXAMPLE, "localhost", 200)]
#[case(true, EXAMPLE, "claudebox", 403)]
#[tokio::test]
async fn a_host_is_answered_to_or_not(
    #[case] token: bool,
    #[case] hosts: &[&str],
    #[case] host: &str,
    #[case] status: u16,
) {
    let answer = answer(&config(token, hosts, &[]), request("GET", "/", &[("host", host)])).await;
    assert_eq!(answer.status(), status);
}

#[rstest]
#[case::none("/", &[], 400)]
#[case::two("/", &[("host", "localhost"), ("host", "localhost")], 400)]
#[case::another_target("http://evil.example/", &[("host", "localhost")], 400)]
#[case::the_same_target("http://localhost/", &[("host", "localhost")], 200)]
#[case::health_needs_no_name("/health", &[("host", "evil.example")], 200)]
#[case::health_needs_a_host("/health", &[], 400)]
#[case::health_needs_one("/health", &[("host", "localhost"), ("host", "evil.example")], 400)]
#[case::health_is_not_for_pages("/health", &[("host", "localhost"), ("origin", "https://evil.example")], 403)]
#[tokio::test]
async fn hosts_that_are_none(#[case] target: &str, #[case] headers: &[(&str, &str)], #[case] status: u16) {
    assert_eq!(answer(&config(false, &[], &[]), request("GET", target, headers)).await.status(), status);
}

#[tokio::test]
async fn an_old_health_check_names_no_host() {
    let mut request = request("GET", "/health", &[]);
    *request.version_mut() = Version::HTTP_10;
    assert_eq!(answer(&config(false, &[], &[]), request).await.status(), 200);
}

#[rstest]
#[case("localhost:8080", "http://localhost:8080", 200)]
#[case("localhost", "http://localhost", 200)]
#[case("localhost:80", "http://localhost", 200)]
#[case("box", "https://box:443", 200)]
#[case("box", "https://BOX", 200)]
#[case("localhost:8080", "http://localhost", 403)]
#[case("localhost:8080", "http://localhost:3000", 403)]
#[case("localhost:8080", "https://evil.example", 403)]
#[case("localhost:8080", "null", 403)]
#[case("localhost:8080", "", 403)]
#[case("localhost:8080", "https://app.example", 200)]
#[case("localhost:8080", "https://app.example:444", 403)]
#[case("localhost:8080", "http://app.example", 403)]
#[tokio::test]
async fn a_page_may_call_or_not(#[case] host: &str, #[case] origin: &str, #[case] status: u16) {
    for method in ["GET", "POST"] {
        let request = request(method, "/", &[("host", host), ("origin", origin)]);
        let answer = answer(&config(false, &[], &["https://app.example/"]), request).await;
        assert_eq!(answer.status(), status);
        let echoed = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(echoed.is_some(), origin == "https://app.example", "{echoed:?}");
    }
}

#[tokio::test]
async fn a_second_origin_is_no_way_in() {
    let headers = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "https://evil.example")];
    assert_eq!(answer(&config(false, &[], &[]), request("GET", "/", &headers)).await.status(), 403);
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token() {
    let asked = [
        ("host", "localhost"),
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let answered = answer(&config(true, &[], &["*"]), request("OPTIONS", "/", &asked)).await;
    assert_eq!(answered.status(), 204);
    assert_eq!(answered.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    assert_eq!(answered.headers()[header::VARY], "Origin");
    // A browser takes `*` for every header but this one.
    assert_eq!(answered.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "Authorization, *");
    let refused = answer(&config(true, &[], &["https://other.example"]), request("OPTIONS", "/", &asked)).await;
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[rstest]
#[case(false, &[], &["*"], OriginError::AnyWithoutToken)]
#[case(true, &[], &["app.example"], OriginError::Origin("app.example".into()))]
#[case(true, &[], &["https://app.example/path"], OriginError::Origin("https://app.example/path".into()))]
#[case(true, &["https://box"], &[], OriginError::Host("https://box".into()))]
#[case(true, &["*"], &[], OriginError::Host("*".into()))]
#[case(true, &["box.example:80"], &[], OriginError::Host("box.example:80".into()))]
fn wrong_settings_are_named(
    #[case] token: bool,
    #[case] hosts: &[&str],
    #[case] origins: &[&str],
    #[case] error: OriginError,
) {
    assert_eq!(Origins::new(&config(token, hosts, origins), "box").unwrap_err(), error);
}
