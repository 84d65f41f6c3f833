use std::collections::BTreeMap;

use super::*;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only what cannot be read is looked at")]
struct File {
    model: Option<String>,
    allowed_chats: Option<Vec<i64>>,
    chats: Option<BTreeMap<i64, Inner>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only what cannot be read is looked at")]
struct Inner {
    effort: Option<Level>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    Medium,
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let cases = [
        (
            "model: a\nmodle: b\n",
            ":2:1",
            "unknown field 'modle', expected one of 'model', 'allowed_chats', 'chats'; did you mean 'model'?",
        ),
        (
            "quite_something_else: b\n",
            ":1:1",
            "unknown field 'quite_something_else', expected one of 'model', 'allowed_chats', 'chats'",
        ),
        ("model: a\nmodel: b\n", ":2:1", "duplicate field 'model'"),
        (
            "allowed_chats:\n  - 12\n  - twelve\n",
            ":3:5",
            "allowed_chats[1]: invalid type: string \"twelve\", expected i64",
        ),
        (
            "chats:\n  5:\n    effort: lwo\n",
            ":3:13",
            "chats.5.effort: unknown variant 'lwo', expected 'low' or 'medium'; did you mean 'low'?",
        ),
        ("allowed_chats: [1\n", ":2:1", "did not find expected ',' or ']'"),
        ("model: * * *\n", ":1:9", "needs quotes"),
    ];
    for (text, at, why) in cases {
        let error = serde_yaml::from_str::<File>(text).unwrap_err();
        let (found, said) = explain(&error, text);
        assert!(said.contains(why) && found == at, "{text:?}: {found} {said}");
        assert!(!said.contains(" at line ") && !said.contains('`'), "{said}");
    }
}

#[test]
fn a_key_is_found_below_the_keys_around_it() {
    let text = "\
# bash_timeout: not this one
default:
  bash_timeout: 1
chats:
  111:
    workspace: chats
    \"bash_timeout\": 2
  -222 :
    effort: low

    # more
    'bash_timeout': 3
  333: {bash_timeout: 4}
jobs:
- name: one
  schedule: a
  list:
    - - x
      - y
    -
      z: 1
-   name: two
    schedule: b
tail: 5
";
    let cases: [(&[&str], &str); 14] = [
        (&["default", "bash_timeout"], ":3:3"),
        (&["chats", "111", "bash_timeout"], ":7:5"),
        (&["chats", "-222", "bash_timeout"], ":12:5"),
        (&["chats", "-222"], ":8:3"),
        // In braces: the line is as near as it gets.
        (&["chats", "333", "bash_timeout"], ":13:3"),
        (&["jobs", "0"], ":15:1"),
        (&["jobs", "0", "name"], ":15:3"),
        (&["jobs", "0", "schedule"], ":16:3"),
        (&["jobs", "0", "list", "0", "1"], ":19:7"),
        (&["jobs", "0", "list", "1", "z"], ":21:7"),
        (&["jobs", "1", "name"], ":22:5"),
        (&["jobs", "1", "schedule"], ":23:5"),
        (&["tail"], ":24:1"),
        (&["nothing"], ""),
    ];
    for (path, at) in cases {
        assert_eq!(position(text, path), at, "{path:?}");
    }
    // What is not there is looked for no further than its parent.
    assert_eq!(position(text, &["default", "workspace"]), ":2:1");
    assert_eq!(position(text, &["jobs", "7"]), ":14:1");
    assert_eq!(position("", &["a"]), "");
}

#[test]
fn no_text_makes_the_search_fall_over() {
    proptest::proptest!(|(text in "[-:# \"'a\n\u{e9}]{0,60}", path in proptest::collection::vec("[-a0-3\u{e9}]{0,2}", 0..4))| {
        position(&text, &path);
    });
}
