use super::*;
use rstest::rstest;
use std::collections::HashMap;
use std::ffi::OsString;

fn env(pairs: &[(&str, &str)]) -> HashMap<String, OsString> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

#[test]
fn servers_work_in_the_one_folder_that_is_mounted() {
    let root = |settings: &[(&str, &str)], mounted: &[&str]| {
        let mut config = Config::read(&env(settings)).unwrap();
        config.find_root(|folder| mounted.iter().any(|mount| Path::new(mount).starts_with(folder)));
        config.workspaces_dir
    };
    let api = [("CLAUDEBOX_MODE_API", "1")];
    assert_eq!(root(&api, &["/workspace"]), PathBuf::from("/workspace"));
    assert_eq!(root(&api, &["/workspace", "/workspaces/a"]), PathBuf::from("/workspaces"));
    assert_eq!(root(&api, &[]), PathBuf::from("/workspaces"));
    assert_eq!(root(&[("CLAUDEBOX_MODE_LOCAL", "1")], &["/workspace"]), PathBuf::from("/workspaces"));
    let named = [api[0], ("CLAUDEBOX_WORKSPACES_DIR", "/srv")];
    assert_eq!(root(&named, &["/workspace"]), PathBuf::from("/srv"));
}

#[test]
fn two_spellings_that_differ_are_an_error_that_names_both_and_shows_neither_value() {
    for (one, other) in [
        ("CLAUDEBOX_MODE_API_PORT", "CLAUDEBOX_API_MODE_PORT"),
        ("CLAUDEBOX_MODE_API_TOKEN", "CLAUDEBOX_API_TOKEN"),
        ("CLAUDEBOX_TELEGRAM_BOT_TOKEN", "CLAUDEBOX_TELEGRAM_MODE_TOKEN"),
        ("CLAUDEBOX_API_MODE_TOKEN", "AICODEBOX_API_MODE_TOKEN"),
    ] {
        let modes = [("CLAUDEBOX_MODE_API", "1"), ("CLAUDEBOX_API_MODE", "1"), ("CLAUDEBOX_MODE_TELEGRAM", "1")];
        let telegram = ("CLAUDE_TELEGRAM_BOT_TOKEN", "81");
        let all = |value| [modes.as_slice(), &[telegram, (one, "81"), (other, value)]].concat();
        assert!(ServerConfig::read(&env(&all("81"))).is_ok(), "{one} {other}");
        let error = ServerConfig::read(&env(&all("82"))).unwrap_err().to_string();
        assert!(error.contains(one) && error.contains(other) && !error.contains('8'), "{error}");
    }
}

#[test]
fn the_registry_is_ours_or_npms_and_a_wrong_one_is_not_shown() {
    let registry = |pairs: &[(&str, &str)]| Config::read(&env(pairs)).map(|config| config.npm_registry);
    let npm = ("npm_config_registry", "http://npm.example/");
    assert_eq!(registry(&[npm]).unwrap(), "http://npm.example");
    assert_eq!(registry(&[npm, ("NPM_CONFIG_REGISTRY", "https://n/a")]).unwrap(), "https://n/a");
    assert_eq!(registry(&[npm, ("CLAUDEBOX_NPM_REGISTRY", "https://ours/")]).unwrap(), "https://ours");
    for wrong in ["npm.example", "ftp://user:secret@x", "https://", "https:///x", "http://a b"] {
        let error = registry(&[("CLAUDEBOX_NPM_REGISTRY", wrong)]).unwrap_err().to_string();
        assert!(error.starts_with("CLAUDEBOX_NPM_REGISTRY=\"(not shown)\" is not usable: "), "{error}");
    }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = Config::read(&env(&[])).unwrap();
    assert_eq!(config.user, "claude");
    assert_eq!((config.claude_bin, config.cli_dir), (None, None));
    assert_eq!(config.npm_registry, "https://registry.npmjs.org");
    assert_eq!(config.workspace, PathBuf::from("/workspace"));
    assert_eq!((config.grace, config.hook_timeout), (DEFAULT_GRACE, Some(DEFAULT_HOOK_TIMEOUT)));
    assert_eq!((config.mode, config.hooks_on_error), (Mode::Sudo, OnError::Stop));
    assert!(!config.offline && !config.debug && config.server_modes.is_empty());
}

#[test]
fn the_predecessors_names_work_and_the_canonical_one_wins() {
    let old = env(&[("CLAUDE_WORKSPACE", "/old"), ("CLAUDE_MODE_API", "1"), ("DEBUG", "true")]);
    let config = Config::read(&old).unwrap();
    assert_eq!(config.workspace, PathBuf::from("/old"));
    assert_eq!(config.server_modes, ["CLAUDEBOX_MODE_API"]);
    assert!(config.debug);
    let both = env(&[("CLAUDE_WORKSPACE", "/old"), ("CLAUDEBOX_WORKSPACE", "/new")]);
    assert_eq!(Config::read(&both).unwrap().workspace, PathBuf::from("/new"));
}

#[test]
fn an_empty_value_is_unset() {
    let config = Config::read(&env(&[("CLAUDEBOX_WORKSPACE", ""), ("CLAUDE_WORKSPACE", "/w")])).unwrap();
    assert_eq!(config.workspace, PathBuf::from("/w"));
}

#[rstest]
#[case(
    "CLAUDEBOX_OFFLINE",
    "maybe",
    "CLAUDEBOX_OFFLINE=\"maybe\" is not usable: allowed are 1, true, yes, on and 0, false, no, off"
)]
#[case(
    "CLAUDE_MODE_API",
    "2",
    "CLAUDE_MODE_API=\"2\" is not usable: allowed are 1, true, yes, on and 0, false, no, off"
)]
#[case(
    "CLAUDEBOX_MAX_MEM",
    "4x",
    "CLAUDEBOX_MAX_MEM=\"4x\" is not usable: a size of at least 256m, such as 512m or 4g"
)]
#[case(
    "CLAUDEBOX_USER_IDS",
    "1000",
    "CLAUDEBOX_USER_IDS=\"1000\" is not usable: a user id and a group id, such as 1000:1000, neither of them 0"
)]
#[case(
    "CLAUDEBOX_USER_IDS",
    "1000:0",
    "CLAUDEBOX_USER_IDS=\"1000:0\" is not usable: a user id and a group id, such as 1000:1000, neither of them 0"
)]
#[case("CLAUDEBOX_WORKSPACE", "here", "CLAUDEBOX_WORKSPACE=\"here\" is not usable: it must be an absolute path")]
#[case("CLAUDEBOX_GRACE_SECONDS", "-1", "CLAUDEBOX_GRACE_SECONDS=\"-1\" is not usable: whole seconds from 0 to 3600")]
#[case(
    "CLAUDEBOX_GRACE_SECONDS",
    "3601",
    "CLAUDEBOX_GRACE_SECONDS=\"3601\" is not usable: whole seconds from 0 to 3600"
)]
#[case(
    "CLAUDEBOX_CONTAINER_NAME",
    "../x",
    "CLAUDEBOX_CONTAINER_NAME=\"../x\" is not usable: it names a folder, so it may not hold a slash"
)]
fn a_bad_value_is_named_with_what_is_allowed(#[case] name: &str, #[case] value: &str, #[case] message: &str) {
    assert_eq!(Config::read(&env(&[(name, value)])).unwrap_err().to_string(), message);
}

/// Every mistake is told, each once, and a door's own are among them although its flag is one too.
#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = |pairs: &[(&str, &str)]| -> Vec<String> {
        let errors = Config::read_with_servers(&env(pairs)).unwrap_err();
        errors.iter().map(|error| error.name.clone()).collect()
    };
    let wrong = [("CLAUDEBOX_GRACE_SECONDS", "soon"), ("CLAUDEBOX_LOG_FORMAT", "xml"), ("CLAUDEBOX_LOG_TIME", "now")];
    assert_eq!(told(&wrong), ["CLAUDEBOX_GRACE_SECONDS", "CLAUDEBOX_LOG_FORMAT", "CLAUDEBOX_LOG_TIME"]);
    let cron =
        [("CLAUDEBOX_MODE_CRON", "1"), ("CLAUDEBOX_OFFLINE", "x"), ("TZ", "Nowhere"), ("CLAUDEBOX_MAX_RUNS", "0")];
    assert_eq!(told(&cron), ["CLAUDEBOX_OFFLINE", "CLAUDEBOX_MODE_CRON_FILE", "TZ", "CLAUDEBOX_MAX_RUNS"]);
    let perhaps = [("CLAUDEBOX_MODE_API", "perhaps"), ("CLAUDEBOX_MODE_API_PORT", "0")];
    assert_eq!(told(&perhaps), ["CLAUDEBOX_MODE_API", "CLAUDEBOX_MODE_API_PORT"]);
    // Whether it was to be on is not known, so nothing is missing.
    assert_eq!(told(&[("CLAUDEBOX_MODE_TELEGRAM", "perhaps")]), ["CLAUDEBOX_MODE_TELEGRAM"]);
    let fetch =
        [("CLAUDEBOX_MODE_LOCAL", "1"), ("CLAUDEBOX_FETCH_ALLOW", "*, n8n, 10.0.0.0/99"), ("CLAUDEBOX_MAX_RUNS", "0")];
    assert_eq!(told(&fetch), ["CLAUDEBOX_FETCH_ALLOW", "CLAUDEBOX_FETCH_ALLOW", "CLAUDEBOX_MAX_RUNS"]);
    let conflict = [("CLAUDEBOX_MODE_API", "1"), ("CLAUDEBOX_API_MODE", "0"), ("CLAUDEBOX_WORKSPACE", "here")];
    assert_eq!(told(&conflict), ["CLAUDEBOX_MODE_API", "CLAUDEBOX_WORKSPACE"]);
    let errors = Config::read(&env(&wrong[..2])).unwrap_err();
    let line = "CLAUDEBOX_GRACE_SECONDS=\"soon\" is not usable: whole seconds from 0 to 3600; \
                CLAUDEBOX_LOG_FORMAT=\"xml\" is not usable: allowed are text and json";
    assert_eq!(errors.to_string(), line);
}

/// A box without servers may have anything in their settings, as a box always could.
#[test]
fn settings_of_servers_count_where_there_are_some() {
    let wrong = [("CLAUDEBOX_MAX_RUNS", "0"), ("CLAUDEBOX_MODE_API_PORT", "0"), ("CLAUDEBOX_MODE_API", "0")];
    let (_, servers) = Config::read_with_servers(&env(&wrong)).unwrap();
    assert_eq!(servers, None);
    let local = [wrong[1], ("CLAUDEBOX_MODE_LOCAL", "1")];
    let (_, servers) = Config::read_with_servers(&env(&local)).unwrap();
    assert!(servers.is_some_and(|servers| servers.local && servers.http.is_none()));
}
