use super::*;
use crate::config::secret::Secret;
use axum::http::HeaderValue;
use rstest::rstest;
use std::fs;
use std::path::Path;

fn config(token: Option<&str>, file: Option<&Path>) -> HttpConfig {
    HttpConfig {
        bind: [127, 0, 0, 1].into(),
        port: 8080,
        token: token.map(|token| Secret::new(token.to_owned())),
        tokens_file: file.map(Path::to_owned),
        hosts: Vec::new(),
        origins: Vec::new(),
        openai_models: Vec::new(),
        body_limit: 1024,
        upload_limit: None,
        connections: 8,
    }
}

fn sum(token: &str) -> String {
    use std::fmt::Write as _;
    tokens::digest(token.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

struct Kept {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn tokens_file(text: &str) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yml");
    fs::write(&file, text).unwrap();
    Kept { _folder: folder, file }
}

fn admitted(authenticator: &Authenticator, token: &str, now: Instant) -> Result<String, &'static str> {
    authenticator
        .admit(Ok(token.as_bytes()), DoorName::Http, now)
        .map(|caller| caller.name.clone())
        .map_err(|problem| problem.code())
}

#[test]
fn an_open_server_lets_everybody_do_everything() {
    let open = Authenticator::from_config(&config(None, None)).unwrap();
    assert!(open.is_open());
    let caller = open.admit(Err("nothing was sent"), DoorName::Http, Instant::now()).unwrap();
    assert_eq!(*caller, Caller::unrestricted("anonymous"));
    assert!(caller.may_use_workspace("") && caller.may_use_door(DoorName::Mcp));
}

#[test]
fn every_accepted_token_is_found_and_no_other() {
    let entries = ["alpha", "beta", "gamma"].map(|name| format!("- {{name: {name}, sha256: {}}}\n", sum(name)));
    let file = tokens_file(&entries.concat());
    let known = Authenticator::from_config(&config(Some("the one"), Some(&file.file))).unwrap();
    let now = Instant::now();
    for (token, name) in [("the one", "default"), ("alpha", "alpha"), ("beta", "beta"), ("gamma", "gamma")] {
        assert_eq!(admitted(&known, token, now), Ok(name.to_owned()));
    }
    for wrong in ["", "alph", "alpha ", "Alpha", "the one\0"] {
        assert_eq!(admitted(&known, wrong, now), Err("unauthorized"), "{wrong:?}");
    }
}

#[test]
fn the_settings_token_wins_over_the_same_one_in_the_file() {
    let file = tokens_file(&format!("- {{name: less, sha256: {}, doors: [mcp]}}", sum("same")));
    let known = Authenticator::from_config(&config(Some("same"), Some(&file.file))).unwrap();
    assert_eq!(admitted(&known, "same", Instant::now()), Ok("default".to_owned()));
}

#[test]
fn a_broken_file_stops_the_start() {
    let file = tokens_file("- {name: ci}");
    let error = Authenticator::from_config(&config(Some("t"), Some(&file.file))).unwrap_err();
    assert!(error.to_string().contains("sha256"), "{error}");
    let missing = Authenticator::from_config(&config(None, Some(Path::new("/nowhere/tokens.yml")))).unwrap_err();
    assert!(missing.to_string().contains("cannot read /nowhere/tokens.yml"), "{missing}");
}

#[test]
fn a_changed_file_is_read_again_after_a_second() {
    let file = tokens_file(&format!("- {{name: old, sha256: {}}}", sum("old")));
    let known = Authenticator::from_config(&config(None, Some(&file.file))).unwrap();
    let start = Instant::now();
    assert_eq!(admitted(&known, "old", start), Ok("old".to_owned()));
    fs::write(&file.file, format!("- {{name: newer, sha256: {}}}", sum("new"))).unwrap();
    assert_eq!(admitted(&known, "new", start), Err("unauthorized"), "it is looked at once per second");
    let later = start + LOOK_EVERY * 2;
    assert_eq!(admitted(&known, "new", later), Ok("newer".to_owned()));
    assert_eq!(admitted(&known, "old", later), Err("unauthorized"));
}

#[test]
fn a_broken_or_missing_new_version_keeps_the_last_good_one() {
    let file = tokens_file(&format!("- {{name: old, sha256: {}}}", sum("old")));
    let known = Authenticator::from_config(&config(None, Some(&file.file))).unwrap();
    let start = Instant::now();
    fs::write(&file.file, "- {name: half").unwrap();
    assert_eq!(admitted(&known, "old", start + LOOK_EVERY * 2), Ok("old".to_owned()));
    assert_eq!(known.lock().stamp, tokens::stamp(&file.file), "it would be reported again every second");
    fs::remove_file(&file.file).unwrap();
    assert_eq!(admitted(&known, "old", start + LOOK_EVERY * 4), Ok("old".to_owned()));
    assert!(!known.is_open());
    fs::write(&file.file, format!("- {{name: new, sha256: {}}}", sum("new"))).unwrap();
    assert_eq!(admitted(&known, "old", start + LOOK_EVERY * 6), Err("unauthorized"));
}

#[test]
fn a_token_is_good_for_its_requests_per_minute_and_its_doors() {
    let text = format!(
        "- {{name: few, sha256: {}, requests_per_minute: 2}}\n- {{name: mcp, sha256: {}, doors: [mcp]}}",
        sum("few"),
        sum("mcp")
    );
    let file = tokens_file(&text);
    let known = Authenticator::from_config(&config(None, Some(&file.file))).unwrap();
    let now = Instant::now();
    assert!(admitted(&known, "few", now).is_ok() && admitted(&known, "few", now).is_ok());
    let refused = known.admit(Ok(b"few"), DoorName::Http, now).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert_eq!(refused.into_response().headers()[header::RETRY_AFTER], "30");
    assert!(admitted(&known, "few", now + Duration::from_secs(30)).is_ok());
    let refused = known.admit(Ok(b"mcp"), DoorName::Http, now).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (StatusCode::FORBIDDEN, "door_not_allowed"));
    assert_eq!(known.admit(Ok(b"mcp"), DoorName::Mcp, now).unwrap().name, "mcp");
}

#[test]
fn a_flood_of_refusals_is_not_logged_one_by_one() {
    let known = Authenticator::from_config(&config(Some("t"), None)).unwrap();
    let (now, problem) = (Instant::now(), unauthorized("no"));
    for _ in 0..LOGGED_PER_MINUTE + 5 {
        known.log_refusal(None, "/run", &problem, now);
    }
    assert_eq!(known.lock().unlogged, 5);
    known.log_refusal(None, "/run", &problem, now + Duration::from_mins(1));
    assert_eq!(known.lock().unlogged, 0);
}

#[rstest]
#[case(&["Bearer abc"], Ok("abc"))]
#[case(&["bearer abc"], Ok("abc"))]
#[case(&["BEARER   abc "], Ok("abc"))]
#[case(&["Bearer a b"], Ok("a b"))]
#[case(&[], Err("a token is needed"))]
#[case(&["Bearer"], Err("has no token"))]
#[case(&["Bearer "], Err("has no token"))]
#[case(&["Basic dXNlcjpwYXNz"], Err("another scheme than Bearer"))]
#[case(&["abc"], Err("another scheme than Bearer"))]
#[case(&["Bearer a", "Bearer b"], Err("more than once"))]
fn the_header_is_read_and_its_faults_are_named(#[case] values: &[&'static str], #[case] expected: Result<&str, &str>) {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
    }
    match (bearer(&headers), expected) {
        (Ok(token), Ok(expected)) => assert_eq!(token, expected.as_bytes()),
        (Err(detail), Err(expected)) => assert!(detail.contains(expected), "{detail}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[rstest]
#[case("/mcp", None)]
#[case("/mcp?apiToken=a%2Bb", Some("a+b"))]
#[case("/mcp?x=1&apiToken=a", Some("a"))]
#[case("/mcp?apiToken=a&apiToken=b", None)]
#[case("/mcp?apitoken=a", None)]
fn a_token_of_the_query(#[case] uri: &str, #[case] expected: Option<&str>) {
    assert_eq!(query_token(&uri.parse().unwrap()).as_deref(), expected);
}

#[rstest]
#[case("/mcp?apiToken=a", "/mcp")]
#[case("/mcp?x=1&apiToken=a&y=%20", "/mcp?x=1&y=%20")]
#[case("/mcp?api%54oken=a&x", "/mcp?x")]
#[case("/mcp?apiToken=a&apiToken=b", "/mcp")]
#[case("/mcp?token=a", "/mcp?token=a")]
fn a_token_of_the_query_goes_no_further(#[case] uri: &str, #[case] expected: &str) {
    assert_eq!(without_token(&uri.parse().unwrap()).to_string(), expected);
}
