//! Nobody gets out of the workspaces folder, or out of the workspace they may use.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::*;

#[test]
fn a_restricted_caller_stays_in_its_workspace() {
    let here = Place::new();
    let only_a = here.only("a");
    let path = |path: &str| only_a.client_path(path.as_bytes()).unwrap();
    assert_eq!(read(&only_a, "a/file").unwrap(), "of a");
    let seen = only_a.list(&path(""), None, 10).unwrap().entries;
    assert_eq!(seen.iter().map(|entry| entry.name.to_str().unwrap()).collect::<Vec<_>>(), ["a"]);
    let again = only_a.list(&path("a/up"), None, 10).unwrap().entries;
    assert_eq!(again.len(), 1);
    let anyway = Precondition::default();
    // Named directly, and through links from its own.
    for inside in ["b", "a/to_b", "a/to_b_absolute", "a/up/b"] {
        let file = format!("{inside}/file");
        let new = format!("{inside}/new");
        let results = [
            code(only_a.resolve(inside)),
            code(only_a.create(inside)),
            code(only_a.create(&new)),
            code(only_a.metadata(&path(inside))),
            code(only_a.list(&path(inside), None, 10)),
            code(read(&only_a, &file)),
            code(write(&only_a, &file, "x", &anyway)),
            code(write(&only_a, &new, "x", &anyway)),
            code(write(&only_a, &format!("{new}/er"), "x", &anyway)),
            code(only_a.delete(&path(&file), true, &anyway)),
        ];
        assert_eq!(results, ["workspace_not_allowed"; 10], "{inside}");
    }
    assert_eq!(code(read(&only_a, "a/to_b_file")), "workspace_not_allowed");
    assert_eq!(code(write(&only_a, "a/to_b_file", "x", &anyway)), "workspace_not_allowed");
    assert_eq!(code(only_a.resolve("")), "workspace_not_allowed");
    assert_eq!(here.names("b"), ["file"]);
    assert_eq!(here.read("b/file").unwrap(), "of b");
    // A name that is no text is judged by the folder it is in.
    let raw = |bytes: &[u8]| code(only_a.metadata(&ClientPath::from_bytes(bytes).unwrap()));
    assert_eq!((raw(b"a/\xff"), raw(b"\xff")), ("not_found", "workspace_not_allowed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_lead_outside(given in hostile()) {
        thread_local!(static HERE: Place = Place::new());
        HERE.with(|here| nothing_escapes(here, &given))?;
    }

    #[test]
    fn a_cursor_is_any_name(name in prop::collection::vec(1_u8.., 1..50)) {
        let encoded = encode_name(OsStr::from_bytes(&name));
        prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
        prop_assert_eq!(decode_name(&encoded), OsStr::from_bytes(&name));
    }
}

/// Paths made of what matters: names of the box, dots, slashes, and any bytes.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "a",
        "b",
        "file",
        "up",
        "out",
        "out_absolute",
        "out_file",
        "out_twice",
        "magic",
        "to_b",
        "to_b_absolute",
        "loop",
        "dangling",
        "canary",
        "root-secret",
        "..",
        ".",
        "",
        "proc",
        "self",
        "root",
        "etc",
        "passwd",
        "..\\",
        "\0",
    ];
    let name = prop_oneof![
        9 => prop::sample::select(names.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(name, 0..7).prop_map(|names| names.join(&b'/'))
}

fn nothing_escapes(here: &Place, given: &[u8]) -> Result<(), TestCaseError> {
    let Ok(path) = here.workspaces.client_path(given) else { return Ok(()) };
    let root = here.at("").canonicalize().unwrap();
    if let Ok(workspace) = here.workspaces.resolve(&path.to_string()) {
        prop_assert!(workspace.path.canonicalize().unwrap().starts_with(&root), "{:?}", workspace);
    }
    match here.workspaces.open_read(&path) {
        Ok((mut file, _)) => {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            prop_assert!(["of a", "of b"].contains(&text.as_str()), "{:?} read {}", path, text);
        }
        Err(error) => prop_assert_ne!(error.kind(), ErrorKind::Fault, "{}", error),
    }
    if let Err(error) = here.workspaces.list(&path, None, 10) {
        prop_assert_ne!(error.kind(), ErrorKind::Fault, "{}", error);
    }
    Ok(())
}
