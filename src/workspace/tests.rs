//! The rules of the module on a real folder, with a secret beside it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;

use nix::sys::stat::Mode;
use proptest::prelude::*;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

const SECRET: &str = "the secret outside";

/// A workspaces folder `root` with links of all kinds, and a folder `root-secret` beside it.
struct Place {
    top: TempDir,
    workspaces: Workspaces,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("root/a/deep")).unwrap();
        fs::create_dir_all(at("root/b")).unwrap();
        fs::create_dir_all(at("root-secret")).unwrap();
        fs::write(at("root-secret/canary"), SECRET).unwrap();
        fs::write(at("root/a/file"), "of a").unwrap();
        fs::write(at("root/b/file"), "of b").unwrap();
        symlink("file", at("root/a/near")).unwrap();
        symlink("../b", at("root/a/to_b")).unwrap();
        symlink(at("root/b"), at("root/a/to_b_absolute")).unwrap();
        symlink("../b/file", at("root/a/to_b_file")).unwrap();
        symlink("../../root-secret", at("root/a/out")).unwrap();
        symlink(at("root-secret"), at("root/a/out_absolute")).unwrap();
        symlink("../../root-secret/canary", at("root/a/out_file")).unwrap();
        symlink("out", at("root/a/out_twice")).unwrap();
        symlink("/proc/self/root", at("root/a/magic")).unwrap();
        symlink("..", at("root/a/up")).unwrap();
        symlink("loop", at("root/a/loop")).unwrap();
        symlink("nowhere", at("root/a/dangling")).unwrap();
        let workspaces = Workspaces::open(&at("root")).unwrap();
        Self { top, workspaces }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.path().join("root").join(path)
    }

    fn path(&self, path: &str) -> ClientPath {
        self.workspaces.client_path(path.as_bytes()).unwrap()
    }

    fn read(&self, path: &str) -> Result<String, PathError> {
        read(&self.workspaces, path)
    }

    fn write(&self, path: &str, text: &str) -> Result<Stat, PathError> {
        write(&self.workspaces, path, text, &Precondition::default())
    }

    fn delete(&self, path: &str, recursive: bool) -> Result<(), PathError> {
        self.workspaces.delete(&self.path(path), recursive, &Precondition::default())
    }

    /// Every name below the root, to see what an operation left.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn only(&self, workspace: &'static str) -> Workspaces {
        self.workspaces.guarded(Arc::new(move |place| Path::new(place).starts_with(workspace)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let canary = fs::read_to_string(self.top.path().join("root-secret/canary"));
        let beside = fs::read_dir(self.top.path().join("root-secret")).unwrap().count();
        if !thread::panicking() {
            assert_eq!((canary.unwrap().as_str(), beside), (SECRET, 1), "something outside was changed");
        }
    }
}

fn read(workspaces: &Workspaces, path: &str) -> Result<String, PathError> {
    let (mut file, _) = workspaces.open_read(&workspaces.client_path(path.as_bytes())?)?;
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    Ok(text)
}

fn write(workspaces: &Workspaces, path: &str, text: &str, condition: &Precondition) -> Result<Stat, PathError> {
    let mut upload = workspaces.begin_write(&workspaces.client_path(path.as_bytes())?)?;
    upload.write(text.as_bytes())?;
    upload.commit(condition)
}

fn code<T>(result: Result<T, PathError>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

fn tag(tag: String) -> Precondition {
    Precondition { matches: Some(Tags::These(vec![tag])), matches_none: None }
}

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
    for outside in ["/etc/passwd", "/", &(absolute("").trim_end_matches('/').to_owned() + "-secret/canary")] {
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

#[test]
fn unfinished_uploads_are_not_listed_and_old_ones_go() {
    let here = Place::new();
    let upload = here.workspaces.begin_write(&here.path("b/new")).unwrap();
    let left_over = here.at("b/.claudebox-upload-old");
    let file = fs::File::create(&left_over).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let listing = here.workspaces.list(&here.path("b"), None, 100).unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert!(!left_over.exists());
    upload.commit(&Precondition::default()).unwrap();
    assert_eq!(here.names("b"), ["file", "new"]);
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let here = Place::new();
    let mut upload = here.workspaces.begin_write(&here.path("a/file")).unwrap();
    upload.write(b"half").unwrap();
    assert_eq!(here.read("a/file").unwrap(), "of a");
    drop(upload);
    let before = here.names("a");
    assert_eq!(here.read("a/file").unwrap(), "of a");
    let mut upload = here.workspaces.begin_write(&here.path("x/y/z/file")).unwrap();
    upload.write(b"half").unwrap();
    drop(upload);
    assert_eq!((here.names("a"), here.names("")), (before, vec!["a".to_owned(), "b".to_owned()]));
    let written = here.write("x/y/z/file", "whole").unwrap();
    assert_eq!(here.read("x/y/z/file").unwrap(), "whole");
    assert_eq!(here.workspaces.metadata(&here.path("x/y/z/file")).unwrap().tag(), written.tag());
    assert_eq!(here.names("x/y/z"), ["file"]);
}

#[test]
fn a_failed_upload_takes_no_folder_from_others() {
    let here = Place::new();
    let failed = here.workspaces.begin_write(&here.path("x/one")).unwrap();
    here.write("x/two", "text").unwrap();
    drop(failed);
    assert_eq!(here.names("x"), ["two"]);
}

#[test]
fn a_file_keeps_its_mode() {
    let here = Place::new();
    let mode = |path: &str| fs::metadata(here.at(path)).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(here.at("a/file"), fs::Permissions::from_mode(0o4750)).unwrap();
    here.write("a/file", "text").unwrap();
    here.write("a/new", "text").unwrap();
    assert_eq!((mode("a/file"), mode("a/new")), (0o750, 0o644));
}

#[rstest]
#[case("a/near", Ok("a/file"))]
#[case("a/to_b_file", Ok("b/file"))]
#[case("a/to_b/new", Ok("b/new"))]
#[case("a/to_b_absolute/file", Ok("b/file"))]
#[case("a/to_b_absolute/new/er", Ok("b/new/er"))]
#[case("a/up/b/file", Ok("b/file"))]
#[case("a/out_file", Err("path_outside"))]
#[case("a/out", Err("path_outside"))]
#[case("a/out/canary", Err("path_outside"))]
#[case("a/out/new", Err("path_outside"))]
#[case("a/out_absolute/x/new", Err("path_outside"))]
#[case("a/magic/tmp/new", Err("path_outside"))]
#[case("a/deep", Err("is_a_folder"))]
#[case("a/to_b", Err("is_a_folder"))]
#[case("", Err("is_a_folder"))]
#[case("a/dangling", Err("not_found"))]
#[case("a/loop", Err("too_many_links"))]
#[case("a/file/new", Err("not_a_folder"))]
fn where_a_file_is_written(#[case] path: &str, #[case] expected: Result<&str, &str>) {
    let here = Place::new();
    let is_link = |path: &str| fs::symlink_metadata(here.at(path)).is_ok_and(|there| there.is_symlink());
    let link_before = is_link(path);
    match (here.write(path, "written"), expected) {
        (Ok(_), Ok(place)) => assert_eq!(fs::read_to_string(here.at(place)).unwrap(), "written"),
        (result, expected) => assert_eq!(Err(code(result)), expected),
    }
    assert_eq!(is_link(path), link_before);
}

#[test]
fn conditions_are_of_the_file_that_is_there() {
    let here = Place::new();
    let absent = Precondition { matches: None, matches_none: Some(Tags::Any) };
    let present = Precondition { matches: Some(Tags::Any), matches_none: None };
    let put = |path: &str, condition: &Precondition| code(write(&here.workspaces, path, "text", condition));
    assert_eq!(put("a/new", &present), "precondition_failed");
    assert_eq!(put("a/new", &absent), "ok");
    assert_eq!(put("a/new", &absent), "precondition_failed");
    assert_eq!(put("a/new", &present), "ok");
    let old = here.workspaces.metadata(&here.path("a/new")).unwrap().tag();
    assert_eq!(put("a/new", &tag(old.clone())), "ok");
    assert_eq!(put("a/new", &tag(old.clone())), "precondition_failed");
    assert_eq!(code(here.workspaces.delete(&here.path("a/new"), false, &tag(old))), "precondition_failed");
    let now = here.workspaces.metadata(&here.path("a/new")).unwrap().tag();
    assert_eq!(code(here.workspaces.delete(&here.path("a/new"), false, &tag(now))), "ok");
}

/// Made by another program while the upload was under way.
#[test]
fn a_file_that_came_meanwhile_is_not_replaced() {
    let here = Place::new();
    let absent = Precondition { matches: None, matches_none: Some(Tags::Any) };
    let upload = here.workspaces.begin_write(&here.path("a/new")).unwrap();
    fs::write(here.at("a/new"), "theirs").unwrap();
    assert_eq!(code(upload.commit(&absent)), "precondition_failed");
    assert_eq!(here.read("a/new").unwrap(), "theirs");
}

#[test]
fn of_two_clients_with_one_tag_one_wins() {
    let here = Place::new();
    for condition in [tag(here.workspaces.metadata(&here.path("a/file")).unwrap().tag())] {
        let won: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let (workspaces, condition) = (&here.workspaces, &condition);
                    scope.spawn(move || write(workspaces, "a/file", &number.to_string(), condition).is_ok())
                })
                .collect();
            clients.into_iter().map(|client| usize::from(client.join().unwrap())).sum()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn deleting_takes_what_is_named_and_nothing_behind_it() {
    let here = Place::new();
    assert_eq!(code(here.delete("", true)), "root_not_deletable");
    assert_eq!(code(here.delete("a/missing", true)), "not_found");
    assert_eq!(code(here.delete("a/out/canary", false)), "path_outside");
    assert_eq!(code(here.delete("a/deep", false)), "is_a_folder");
    for link in ["a/out", "a/out_file", "a/to_b", "a/magic", "a/dangling", "a/loop", "a/up"] {
        here.delete(link, true).unwrap();
    }
    here.delete("a/to_b_absolute/file", false).unwrap();
    assert!(here.names("b").is_empty());
    symlink("../../root-secret", here.at("a/deep/out")).unwrap();
    here.delete("a", true).unwrap();
    assert_eq!(here.names(""), ["b"]);
}

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
