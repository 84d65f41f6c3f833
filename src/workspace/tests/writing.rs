//! Writing and deleting.

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use rstest::rstest;

use super::*;

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
    for round in 0..20 {
        let condition = tag(here.workspaces.metadata(&here.path("a/file")).unwrap().tag());
        let (workspaces, condition, start) = (&here.workspaces, &condition, &Barrier::new(4));
        let put = move |number: usize| {
            let mut upload = workspaces.begin_write(&workspaces.client_path(b"a/file")?)?;
            upload.write("x".repeat(number + round).as_bytes())?;
            start.wait();
            upload.commit(condition)
        };
        let won: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|number| scope.spawn(move || put(number).is_ok())).collect();
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
