//! Paths, workspaces, reading and listing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use rstest::rstest;

use super::*;

#[rstest]
#[case("", Ok(""))]
#[case("a/b", Ok("a/b"))]
#[case("./a//b/./", Ok("a/b"))]
#[case("a\\..\\b", Ok("a\\..\\b"))]
#[case("...", Ok("..."))]
#[case("a..", Ok("a.."))]
#[case(".. ", Ok(".. "))]
#[case("..;/a", Ok("..;/a"))]
#[case("%2e%2e/a", Ok("%2e%2e/a"))]
#[case("\u{2024}\u{2024}/a", Ok("\u{2024}\u{2024}/a"))]
#[case("..", Err("path_outside"))]
#[case("a/../b", Err("path_outside"))]
#[case("a/..", Err("path_outside"))]
#[case("/etc", Err("path_outside"))]
#[case("/", Err("path_outside"))]
#[case("a\0b", Err("path_invalid"))]
#[case("a/.claudebox-upload-1", Err("path_invalid"))]
fn what_a_path_may_be(#[case] given: &str, #[case] expected: Result<&str, &str>) {
    let parsed = ClientPath::parse(given).map(|path| path.to_string());
    assert_eq!(parsed.as_deref().map_err(PathError::code), expected);
}

#[rstest]
#[case(255, 1, true)]
#[case(256, 1, false)]
#[case(1, 128, true)]
#[case(1, 129, false)]
#[case(250, 17, false)]
fn long_paths_are_refused(#[case] name: usize, #[case] names: usize, #[case] fine: bool) {
    let path = vec!["n".repeat(name); names].join("/");
    assert_eq!(code(ClientPath::parse(&path)), if fine { "ok" } else { "path_invalid" });
}

#[test]
fn an_absolute_path_below_the_root_is_what_answers_name() {
    let here = Place::new();
    let absolute = |path: &str| here.at(path).into_os_string().into_string().unwrap();
    assert_eq!(here.path(&absolute("a/file")).to_string(), "a/file");
    assert_eq!(here.path(&absolute("")).to_string(), "");
    assert_eq!(here.workspaces.absolute(&here.path("a/file")), here.at("a/file").canonicalize().unwrap());
    // What is not below it is taken from there: the system's root is nowhere.
    let beside = absolute("").trim_end_matches('/').to_owned() + "-secret/canary";
    for (given, below) in
        [("/etc/passwd", "etc/passwd"), ("/", ""), ("//a//b/", "a/b"), (beside.as_str(), &beside[1..])]
    {
        assert_eq!(here.path(given).to_string(), below, "{given}");
        assert!(here.workspaces.absolute(&here.path(given)).starts_with(here.workspaces.root()), "{given}");
    }
    for outside in ["/../etc/passwd", "/a/../../etc"] {
        assert_eq!(code(here.workspaces.client_path(outside.as_bytes())), "path_outside", "{outside}");
    }
    // As it was configured, and as it is called really.
    let link = here.top.path().join("link");
    symlink(here.at(""), &link).unwrap();
    let linked = Workspaces::open(&link).unwrap();
    for root in [link, here.at("").canonicalize().unwrap()] {
        let given = root.join("a/file");
        assert_eq!(linked.client_path(given.as_os_str().as_bytes()).unwrap().to_string(), "a/file");
    }
}

#[rstest]
#[case("", Ok(""))]
#[case("a", Ok("a"))]
#[case("a/deep/", Ok("a/deep"))]
#[case("a/to_b", Ok("b"))]
#[case("a/to_b_absolute", Ok("b"))]
#[case("a/up", Ok(""))]
#[case("a/up/b", Ok("b"))]
#[case("missing", Err("workspace_not_found"))]
#[case("a/dangling", Err("workspace_not_found"))]
#[case("a/file", Err("not_a_folder"))]
#[case("a/file/x", Err("not_a_folder"))]
#[case("a/loop", Err("too_many_links"))]
#[case("..", Err("path_outside"))]
#[case("a/out", Err("path_outside"))]
#[case("a/out_absolute", Err("path_outside"))]
#[case("a/out_twice", Err("path_outside"))]
#[case("a/magic", Err("path_outside"))]
#[case("a/magic/etc", Err("path_outside"))]
fn a_workspace_is_a_folder_inside(#[case] name: &str, #[case] expected: Result<&str, &str>) {
    let here = Place::new();
    let root = here.at("").canonicalize().unwrap();
    let resolved = here.workspaces.resolve(name);
    let place = resolved.as_ref().map(|workspace| workspace.path.strip_prefix(&root).unwrap().to_str().unwrap());
    assert_eq!(place.map_err(PathError::code), expected);
    if let Ok(workspace) = resolved {
        assert_eq!(workspace.name, name.trim_end_matches('/'));
        assert!(!workspace.path.as_os_str().as_bytes().ends_with(b"/"), "{workspace:?}");
    }
}

#[test]
fn a_workspace_is_made_with_the_folders_above_it() {
    let here = Place::new();
    let made = here.workspaces.create("new/one").unwrap();
    assert_eq!((made.name.as_str(), &made.path), ("new/one", &here.at("new/one").canonicalize().unwrap()));
    assert_eq!(here.workspaces.create("new/one").unwrap(), made);
    assert_eq!(code(here.workspaces.create("a/file/x")), "not_a_folder");
    for outside in ["a/out/new", "a/out_absolute/new", "a/magic/tmp/new", "../new"] {
        assert_eq!(code(here.workspaces.create(outside)), "path_outside", "{outside}");
    }
}

#[rstest]
#[case("a/file", Ok("of a"))]
#[case("a/near", Ok("of a"))]
#[case("a/to_b_file", Ok("of b"))]
#[case("a/to_b_absolute/file", Ok("of b"))]
#[case("a/out_file", Err("path_outside"))]
#[case("a/out/canary", Err("path_outside"))]
#[case("a/out_absolute/canary", Err("path_outside"))]
#[case("a/magic/etc/passwd", Err("path_outside"))]
#[case("a", Err("is_a_folder"))]
#[case("a/missing", Err("not_found"))]
#[case("a/to_b_absolute/missing", Err("not_found"))]
#[case("a/out_absolute/missing", Err("path_outside"))]
#[case("a/dangling", Err("not_found"))]
#[case("a/file/x", Err("not_a_folder"))]
fn what_can_be_read(#[case] path: &str, #[case] expected: Result<&str, &str>) {
    let here = Place::new();
    let text = here.read(path);
    assert_eq!(text.as_deref().map_err(PathError::code), expected);
}

/// An open without care would wait for the pipe's other end for ever.
#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let here = Place::new();
    nix::unistd::mkfifo(&here.at("a/pipe"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(here.at("a/socket")).unwrap();
    for path in ["a/pipe", "a/socket"] {
        assert_eq!(code(here.read(path)), "not_a_file", "{path}");
        assert_eq!(code(here.write(path, "text")), "not_a_file", "{path}");
        assert_eq!(here.workspaces.metadata(&here.path(path)).unwrap().kind, Kind::Other);
        here.delete(path, false).unwrap();
    }
}

#[test]
fn a_folder_is_listed_in_order_and_in_pages() {
    let here = Place::new();
    for number in 0..25 {
        fs::write(here.at(&format!("b/{number:02}")), "x").unwrap();
    }
    let raw = OsStr::from_bytes(b"z\xff");
    fs::write(here.at("b").join(raw), "").unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    let mut pages = 0;
    loop {
        let listing = here.workspaces.list(&here.path("b"), after.as_deref(), 9).unwrap();
        assert!(listing.entries.len() <= 9);
        pages += 1;
        seen.extend(listing.entries.into_iter().map(|entry| entry.name));
        // What a client gets and sends back is text.
        after = listing.next.map(|name| decode_name(&encode_name(&name)));
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<_> = (0..25).map(|number| format!("{number:02}").into()).collect();
    expected.extend(["file".into(), raw.to_owned()]);
    assert_eq!((seen, pages), (expected, 3));
    let last = here.workspaces.list(&here.path("b"), None, 27).unwrap();
    assert_eq!((last.entries.len(), last.next), (27, None));
}

#[test]
fn a_link_in_a_listing_is_a_link() {
    let here = Place::new();
    let listing = here.workspaces.list(&here.path("a"), None, 100).unwrap();
    let kind = |name: &str| listing.entries.iter().find(|entry| entry.name == name).unwrap().stat.kind;
    assert_eq!((kind("file"), kind("deep"), kind("out")), (Kind::File, Kind::Folder, Kind::Link));
    assert_eq!(code(here.workspaces.list(&here.path("a/out"), None, 100)), "path_outside");
    assert_eq!(code(here.workspaces.list(&here.path("a/file"), None, 100)), "not_a_folder");
    assert_eq!(here.workspaces.list(&here.path("a/to_b"), None, 100).unwrap().entries.len(), 1);
}
