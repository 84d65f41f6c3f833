use super::*;
use crate::desk::options::{self, Place};
use std::collections::BTreeSet;

/// The keys that are no options of a run: who may use the bot, and how.
const OWN: [&str; 5] = ["allowed_users", "groups", "channel_posts", "bash", "bash_timeout"];

#[test]
fn the_keys_are_those_of_the_table_of_options() {
    let (_, why) = SettingsFile::parse("default:\n  zzzzzzzzz: 1\n").unwrap_err();
    let (_, keys) = why.split_once(", expected one of ").unwrap_or_else(|| panic!("{why}"));
    let keys = keys.split('\'').skip(1).step_by(2).filter(|key| !OWN.contains(key));
    assert_eq!(keys.collect::<BTreeSet<_>>(), options::at(Place::Telegram).map(|(name, _)| name).collect());
}

fn parse(text: &str) -> SettingsFile {
    SettingsFile::parse(text).unwrap_or_else(|(at, why)| panic!("{text:?}{at}: {why}"))
}

/// A Windows editor's byte order mark, and the switches of YAML 1.1.
#[test]
fn a_file_is_read_as_people_write_it() {
    for (word, on) in [("yes", true), ("On", true), ("true", true), ("no", false), ("OFF", false), ("false", false)] {
        let text = format!(
            "\u{feff}allow_everyone: {word}\ndefault:\n  bash: {word}\nchats:\n  5:\n    continue: {word}\n    bash:\n"
        );
        let settings = parse(&text);
        let chat = settings.chat(5, &Overrides::default());
        assert_eq!((settings.lets_everyone_in(), chat.bash, chat.continues), (on, on, on), "{word}");
    }
    let (at, why) = SettingsFile::parse("default:\n  bash: maybe\n").unwrap_err();
    assert_eq!((at.as_str(), why.contains("true or false")), (":2:9", true), "{why}");
    assert_eq!(parse("\u{feff}"), SettingsFile::default());
}

#[test]
fn the_predecessors_file_is_understood() {
    let text = "
allowed_chats:
  - 123456789 # a person
  - -987654321
default:
  model: sonnet
  effort: high
  continue: true
chats:
  123456789:
    workspace: my-project
    model: opus
    effort: max
    system_prompt: \"You are an engineer\"
    max_budget_usd: 2
  -987654321:
    workspace: team-stuff
    continue: false
    append_system_prompt: Keep it short
    allowed_users: [123456789, 111222333]
";
    let settings = parse(text);
    let person = settings.chat(123_456_789, &Overrides::default());
    assert_eq!((person.workspace.as_str(), person.model.as_deref()), ("my-project", Some("opus")));
    assert_eq!((person.effort, person.continues, person.max_budget_usd), (Some(Effort::Max), true, Some(2.0)));
    let team = settings.chat(-987_654_321, &Overrides::default());
    assert_eq!((team.model.as_deref(), team.effort, team.continues), (Some("sonnet"), Some(Effort::High), false));
    assert_eq!(team.append_system_prompt.as_deref(), Some("Keep it short"));
    assert_eq!(settings.access(-987_654_321, Some(111_222_333)), Access::Allowed);
    assert_eq!(settings.access(-987_654_321, Some(5)), Access::ForeignUser);
    assert_eq!(settings.access(-987_654_321, None), Access::ForeignUser);
    assert_eq!(settings.access(5, Some(123_456_789)), Access::ForeignChat);
    let changed = Overrides { model: Some("haiku".into()), ..Overrides::default() };
    assert_eq!(settings.chat(123_456_789, &changed).model.as_deref(), Some("haiku"));
}

#[test]
fn nobody_is_let_in_by_an_empty_list() {
    for text in ["", "# nothing\n", "allowed_chats: []\n", "chats:\n", "default: {}\nchats: {5: {workspace: a}}\n"] {
        let settings = parse(text);
        assert!(settings.shut_out_all(), "{text:?}");
        assert_eq!(settings.access(5, Some(5)), Access::ForeignChat, "{text:?}");
    }
    let open = parse("allow_everyone: true\ndefault: {allowed_users: [7]}\n");
    assert_eq!((open.access(5, Some(5)), open.access(5, Some(7))), (Access::ForeignUser, Access::Allowed));
    let nobody = parse("allowed_chats: [5]\ndefault: {allowed_users: []}\n");
    assert_eq!(nobody.access(5, Some(5)), Access::ForeignUser);
}

#[test]
fn each_chat_has_a_workspace_of_its_own() {
    let settings = parse("allowed_chats: [5]\ndefault: {workspace: ' '}\nchats: {6: {workspace: ''}}\n");
    assert_eq!(settings.chat(5, &Overrides::default()).workspace, "chat_5");
    assert_eq!(settings.chat(6, &Overrides::default()).workspace, "chat_6");
    assert_eq!(settings.chat(-6, &Overrides::default()).workspace, "chat_-6");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let cases = [
        ("allowed_chat: [1]\n", ":1:1", "did you mean 'allowed_chats'?"),
        ("allowed_chats: 5\n", ":1:16", "expected a sequence"),
        ("allowed_chats: [me]\n", ":1:17", "expected i64"),
        ("allowed_chats: [1]\nallowed_chats: [2]\n", ":2:1", "duplicate field 'allowed_chats'"),
        ("chats:\n  5: {}\n  5: {}\n", ":3:3", "duplicate field '5'"),
        ("chats:\n  5:\n    modle: opus\n", ":3:5", "chats.5: unknown field 'modle'"),
        ("chats:\n  5:\n    effort: extreme\n", ":3:13", "chats.5.effort: unknown variant 'extreme'"),
        ("chats:\n  5:\n    continue: maybe\n", ":3:15", "expected a boolean"),
        ("chats:\n  somebody: {}\n", ":2:3", "expected i64"),
        ("chats: []\n", ":1:8", "chat ids and their settings"),
        ("default: {busy: drop}\n", ":1:17", "'queue' or 'reject'"),
        ("default:\n  max_budget_usd: -1\n", ":2:3", "default.max_budget_usd: must be a number above 0"),
        ("default:\n  max_budget_usd: .nan\n", ":2:3", "a number above 0"),
        ("default:\n  bash_timeout: 0\n", ":2:3", "whole seconds from 1 to 3600"),
        ("default:\n  bash_timeout: 3601\n", ":2:3", "whole seconds from 1 to 3600"),
        ("chats:\n  5:\n    workspace: ../other\n", ":3:5", "chats.5.workspace: a folder below"),
        ("default:\n  workspace: .\n", ":2:3", "default.workspace: a folder below"),
        ("chats:\n  5:\n    workspace: /etc\n", ":3:5", "without '.' and '..'"),
        ("chats:\n  5:\n    model: --help\n", ":3:5", "chats.5.model: must be an alias"),
        ("allowed_chats: [1\n", ":2:1", "did not find expected"),
        ("- 1\n", ":1:1", "invalid type: sequence"),
    ];
    for (text, at, why) in cases {
        let (found, said) = SettingsFile::parse(text).expect_err(text);
        assert!(found == at && said.contains(why), "{text:?}: {found} {said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_as_such() {
    let path = Path::new("/nowhere/telegram.yml");
    let error = SettingsFile::read(path).unwrap_err().to_string();
    assert!(error.contains("/nowhere/telegram.yml") && error.contains("allowed_chats"), "{error}");
}
