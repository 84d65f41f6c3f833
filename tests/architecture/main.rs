//! The house of ARCHITECTURE.md, checked: which room uses which, circles of files, crates in their rooms.
//!
//! The rules are in `rooms`. The rest reads the code and compares.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod checks;
mod circles;
mod code;
mod lexer;
mod made_up;
mod rooms;
mod table;
mod tree;

use std::path::Path;
use std::{env, fs};

use crate::rooms::{CRATES, ROOMS};
use crate::tree::Tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Tree {
    let tree = Tree::of_folder(root()).unwrap();
    assert!(tree.modules.len() > 200, "only {} modules were found", tree.modules.len());
    tree
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn arrows_only_point_down() {
    assert_none(&checks::arrows(&tree(), ROOMS));
}

#[test]
fn every_permission_is_needed() {
    assert_none(&checks::unused_permissions(&tree(), ROOMS));
}

#[test]
fn crates_stay_in_their_rooms() {
    assert_none(&checks::crates(&tree(), ROOMS, CRATES));
}

#[test]
fn no_files_are_in_a_circle() {
    let circles: Vec<String> = circles::circles(&tree()).iter().map(ToString::to_string).collect();
    assert_none(&circles);
}

/// With `WRITE=1` the page is written.
#[test]
fn the_page_has_the_table_of_rooms() {
    let (page, tree) = (root().join("ARCHITECTURE.md"), tree());
    let is = fs::read_to_string(&page).unwrap();
    let should = table::written_into(&is, &tree, ROOMS).unwrap();
    if env::var_os("WRITE").is_some() {
        fs::write(page, should).unwrap();
    } else {
        let table = table::table(&tree, ROOMS);
        assert!(is == should, "WRITE=1 writes this between the markers of ARCHITECTURE.md:\n\n{table}");
    }
}
