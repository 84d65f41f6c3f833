//! The checker itself, on small crates that are made up.

use crate::checks;
use crate::circles::{self, Circle};
use crate::rooms::{CrateRule, Room};
use crate::table;
use crate::tree::{Meaning, Tree};

const SHOP: Room = Room { path: "shop", what: "sells", may_use: &["store"] };
const STORE: Room = Room { path: "store", what: "keeps", may_use: &[] };
const DESK: Room = Room { path: "shop::desk", what: "answers", may_use: &[] };

fn tree(sources: &[(&str, &str)]) -> Tree {
    Tree::of_sources(sources.iter().copied()).unwrap()
}

/// What breaks an arrow in `shop`'s file, beside a store with an item and a module.
fn arrows(shop: &str) -> Vec<String> {
    let store = [("src/store/mod.rs", "pub mod shelf; pub struct Thing;"), ("src/store/shelf.rs", "pub fn take() {}")];
    let tree = tree(&[&[("src/shop.rs", shop)], store.as_slice()].concat());
    checks::arrows(&tree, &[Room { may_use: &[], ..SHOP }, STORE])
}

fn found(circles: &[Circle]) -> Vec<Vec<&str>> {
    circles.iter().map(|circle| circle.files.iter().map(String::as_str).collect()).collect()
}

#[test]
fn a_broken_arrow_is_told_with_its_place_and_path() {
    let tree = tree(&[
        ("src/shop/mod.rs", "mod till;"),
        ("src/shop/till.rs", "\n\nfn ring() { crate::cellar::deep::dig(); }"),
        ("src/store.rs", "use crate::shop;"),
        ("src/cellar/mod.rs", "pub mod deep;"),
        ("src/cellar/deep.rs", "pub fn dig() {}"),
    ]);
    let cellar = Room { path: "cellar", what: "", may_use: &[] };
    assert_eq!(
        checks::arrows(&tree, &[SHOP, STORE, cellar]),
        [
            "src/shop/till.rs:3 uses cellar (crate::cellar::deep::dig): shop may use store",
            "src/store.rs:1 uses shop (crate::shop): store may use nothing",
        ]
    );
}

#[test]
fn each_way_to_write_a_use_is_seen() {
    for code in [
        "use crate::store::Thing;",
        "use crate::{other, store::{self}};",
        "use crate::{store::{shelf::{take as a}}, other};",
        "pub(in crate::shop) use crate::store::Thing as Other;",
        "fn a() { crate::store::shelf::take() }",
        "fn a() { select! { _ = crate::store::shelf::take() => {} } }",
        "fn a() -> super::store::Thing {}",
        "mod inner { use super::super::store::Thing; }",
        "#[derive(crate::store::Thing)] struct A;",
        "#[serde(with = \"crate::store::shelf\")] struct A;",
        "fn a(x: u8) { for _ in x..crate::store::shelf::take() {} }",
        "fn a<'a>(x: &'a crate::store::Thing) {}",
    ] {
        assert_eq!(arrows(code).len(), 1, "{code}: {:?}", arrows(code));
    }
}

#[test]
fn what_is_no_use_is_none() {
    for code in [
        "// crate::store::Thing",
        "/// [`crate::store::Thing`]\nfn a() {}",
        "const A: &str = \"crate::store::Thing\";",
        "#[cfg(test)] mod tests { use crate::store::Thing; }",
        "#[cfg(test)] use crate::store::{Thing};\nfn a() {}",
        "#[cfg(test)] #[must_use] pub const fn a() -> u8 { crate::store::A }",
        "fn a(store: A) { store.shelf(); }",
        "use crate::shop::store::Thing;",
    ] {
        assert_eq!(arrows(code), [""; 0], "{code}");
    }
}

#[test]
fn code_after_a_test_only_item_is_read() {
    assert_eq!(arrows("#[cfg(test)] use a::{b};\nuse crate::store::Thing;").len(), 1);
    assert_eq!(arrows("#[cfg(test)] mod tests;\nuse crate::store::Thing;").len(), 1);
}

#[test]
fn files_of_tests_are_left_out() {
    let uses = "use crate::store::Thing;";
    let tree = tree(&[
        ("src/shop/mod.rs", "#[cfg(test)] mod stand; mod till;"),
        ("src/shop/stand.rs", uses),
        ("src/shop/tests/mod.rs", uses),
        ("src/shop/till.rs", ""),
        ("src/shop/till/tests.rs", uses),
        ("src/store.rs", "pub struct Thing;"),
    ]);
    assert_eq!(checks::arrows(&tree, &[Room { may_use: &[], ..SHOP }, STORE]), [""; 0]);
}

#[test]
fn a_file_belongs_to_the_deepest_room() {
    let tree = tree(&[
        ("src/shop/mod.rs", "pub mod desk; use crate::store::Thing; use desk::answer;"),
        ("src/shop/desk.rs", "use crate::store::Thing; pub fn answer() {}"),
        ("src/store.rs", "pub struct Thing;"),
        ("src/attic.rs", ""),
    ]);
    assert_eq!(
        checks::arrows(&tree, &[SHOP, DESK, STORE]),
        [
            "src/attic.rs is in no room: add one to ROOMS",
            "src/shop/desk.rs:1 uses store (crate::store::Thing): shop::desk may use nothing",
            "src/shop/mod.rs:1 uses shop::desk (crate::shop::desk::answer): shop may use store",
        ]
    );
}

#[test]
fn a_permission_nobody_uses_is_told() {
    let tree = tree(&[("src/shop.rs", "use crate::store::Thing;"), ("src/store.rs", "pub struct Thing;")]);
    let store = Room { may_use: &["shop", "cellar"], ..STORE };
    assert_eq!(
        checks::unused_permissions(&tree, &[SHOP, store, DESK]),
        [
            "ROOMS: store may use shop, and no file of it does: take it out",
            "ROOMS: store may use cellar, which is no room",
            "ROOMS: there is no module shop::desk",
        ]
    );
}

#[test]
fn crates_are_found_by_their_own_names_and_by_imported_ones() {
    let rule = CrateRule { name: "axum::http::StatusCode", rooms: &["store"], why: "reason" };
    let status = "names axum::http::StatusCode in shop: axum::http::StatusCode is for store: reason";
    for code in ["use axum::{Router, http::StatusCode};", "fn a(b: ::axum::http::StatusCode) {}"] {
        let tree = tree(&[("src/shop.rs", code), ("src/store.rs", "use axum::http::StatusCode;")]);
        assert_eq!(
            checks::crates(&tree, &[SHOP, STORE], std::slice::from_ref(&rule)),
            [format!("src/shop.rs:1 {status}")]
        );
    }
    let tree = tree(&[("src/shop.rs", "use axum::http;\nfn a() { http::StatusCode::OK; axum_other::a() }")]);
    assert_eq!(
        checks::crates(&tree, &[SHOP, STORE], std::slice::from_ref(&rule)),
        [
            "CRATES: store may name axum::http::StatusCode, and no file of it does: take it out",
            "src/shop.rs:2 names axum::http::StatusCode::OK in shop: axum::http::StatusCode is for store: reason",
        ]
    );
}

#[test]
fn unsafe_code_is_a_rule_as_a_crate_is() {
    let rule = CrateRule { name: "unsafe", rooms: &[], why: "reason" };
    let tree = tree(&[("src/shop.rs", "fn a() {\nunsafe { b() } }"), ("src/store.rs", "#![expect(unsafe_code)]")]);
    assert_eq!(
        checks::crates(&tree, &[SHOP, STORE], std::slice::from_ref(&rule)),
        ["src/shop.rs:2 names unsafe in shop: unsafe is for nothing: reason"]
    );
}

#[test]
fn circles_of_two_and_of_three_are_found() {
    let tree = tree(&[
        ("src/a.rs", "use crate::b::B; pub struct A;"),
        ("src/b.rs", "\nuse crate::a::A; pub struct B;"),
        ("src/c.rs", "use crate::d::D; use crate::a::A; pub struct C;"),
        ("src/d.rs", "use crate::e::E; pub struct D;"),
        ("src/e.rs", "fn e(c: crate::c::C) {} pub struct E;"),
        ("src/f.rs", "use crate::e::E;"),
    ]);
    let circles = circles::circles(&tree);
    assert_eq!(found(&circles), [vec!["src/a.rs", "src/b.rs"], vec!["src/c.rs", "src/d.rs", "src/e.rs"]]);
    assert_eq!(
        circles[0].to_string(),
        "a circle of 2 files: src/a.rs, src/b.rs\n  src/a.rs uses src/b.rs: B (line 1)\n  \
         src/b.rs uses src/a.rs: A (line 2)"
    );
}

#[test]
fn a_parent_that_only_hands_on_is_in_no_circle() {
    let child = ("src/a/child.rs", "use super::Limit; pub struct Child;");
    let circle = [["src/a/child.rs", "src/a/mod.rs"]];
    for (parent, expected) in [
        ("mod child; pub use child::Child; pub struct Limit;", false),
        ("mod child; pub(in crate::a) use self::child::Child; pub struct Limit;", false),
        // Its own code uses what it hands on, or the child itself.
        ("mod child; pub use child::Child; pub struct Limit; fn a() -> Child {}", true),
        ("mod child; pub struct Limit; fn a() { child::Child }", true),
        ("mod child; use child::Child; pub struct Limit;", true),
    ] {
        let tree = tree(&[("src/a/mod.rs", parent), child]);
        assert_eq!(found(&circles::circles(&tree)), if expected { &circle[..] } else { &[] }, "{parent}");
    }
}

#[test]
fn handing_on_what_is_no_childs_counts() {
    let tree =
        tree(&[("src/a.rs", "pub use crate::b::B; pub struct A;"), ("src/b.rs", "use crate::a::A; pub struct B;")]);
    assert_eq!(found(&circles::circles(&tree)), [["src/a.rs", "src/b.rs"]]);
}

#[test]
fn an_item_that_is_handed_on_is_one_of_the_file_that_defines_it() {
    let tree = tree(&[
        ("src/a/mod.rs", "mod one; mod two; pub use one::One as Uno; use crate::b::B; fn a() { two::two() }"),
        ("src/a/one.rs", "pub struct One;"),
        // `B` comes from the parent's private import.
        ("src/a/two.rs", "use super::{B, Uno}; pub fn two() { Uno::new() }"),
        ("src/b.rs", "use crate::a::Uno; pub struct B;"),
    ]);
    assert_eq!(found(&circles::circles(&tree)), [[""; 0]; 0]);
    let (module, home, path) = ("a".to_owned(), Some("a::one".to_owned()), "crate::a::Uno".to_owned());
    let written = ["crate", "a", "Uno"].map(str::to_owned);
    assert_eq!(tree.meaning("b", &written), Meaning::Ours { module, home, path });
}

#[test]
fn the_table_stands_between_its_markers() {
    let tree = tree(&[("src/shop/mod.rs", ""), ("src/store.rs", "")]);
    let page = "before\n<!-- rooms -->\nold\n<!-- /rooms -->\nafter\n";
    let rows = "| folder | what it is for | may use |\n|---|---|---|\n\
        | `src/shop/` | sells | store |\n| `src/store.rs` | keeps | |\n";
    assert_eq!(
        table::written_into(page, &tree, &[SHOP, STORE]).unwrap(),
        format!("before\n<!-- rooms -->\n\n{rows}\n<!-- /rooms -->\nafter\n")
    );
    assert_eq!(table::written_into("", &tree, &[]).unwrap_err(), "the line <!-- rooms --> is missing");
}
