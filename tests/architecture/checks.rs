//! The rules of the house held against the tree: who may use what, and which crates are named where.

use std::collections::{BTreeMap, BTreeSet};

use crate::rooms::{CrateRule, Room};
use crate::tree::{Meaning, Tree, Use, is_within};

/// The deepest room that holds `module`.
pub(crate) fn room_of<'rooms>(module: &str, rooms: &'rooms [Room]) -> Option<&'rooms Room> {
    rooms.iter().filter(|room| is_within(module, room.path)).max_by_key(|room| room.path.len())
}

/// Uses of rooms that the user's room has no permission for, and files that are in no room.
pub(crate) fn arrows(tree: &Tree, rooms: &[Room]) -> Vec<String> {
    let mut faults: BTreeSet<String> = BTreeSet::new();
    for (path, module) in &tree.modules {
        if !path.is_empty() && room_of(path, rooms).is_none() {
            faults.insert(format!("{} is in no room: add one to ROOMS", module.file));
        }
    }
    for Arrow { at, from, to, path } in arrows_between(tree, rooms) {
        if !from.may_use.contains(&to.path) {
            let allowed = listed(from.may_use);
            faults.insert(format!("{} uses {} ({path}): {} may use {allowed}", at.place(), to.path, from.path));
        }
    }
    faults.into_iter().collect()
}

/// Permissions that no file needs, and rooms that are not there.
pub(crate) fn unused_permissions(tree: &Tree, rooms: &[Room]) -> Vec<String> {
    let used: BTreeSet<(&str, &str)> =
        arrows_between(tree, rooms).map(|arrow| (arrow.from.path, arrow.to.path)).collect();
    let mut faults = Vec::new();
    for room in rooms {
        if !tree.modules.contains_key(room.path) {
            faults.push(format!("ROOMS: there is no module {}", room.path));
        }
        for &permission in room.may_use {
            if !rooms.iter().any(|room| room.path == permission) {
                faults.push(format!("ROOMS: {} may use {permission}, which is no room", room.path));
            } else if !used.contains(&(room.path, permission)) {
                faults.push(format!("ROOMS: {} may use {permission}, and no file of it does: take it out", room.path));
            }
        }
    }
    faults
}

/// Names of other crates in rooms that may not have them, and rooms of a rule that do not need it.
pub(crate) fn crates(tree: &Tree, rooms: &[Room], rules: &[CrateRule]) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for at in tree.uses() {
        let Meaning::Foreign(path) = &at.meaning else { continue };
        let path = path.join("::");
        let Some(room) = room_of(at.user, rooms) else { continue };
        for rule in rules.iter().filter(|rule| is_within(&path, rule.name)) {
            used.entry(rule.name).or_default().insert(room.path);
            if !rule.rooms.contains(&room.path) {
                let allowed = listed(rule.rooms);
                faults.insert(format!(
                    "{} names {path} in {}: {} is for {allowed}: {}",
                    at.place(),
                    room.path,
                    rule.name,
                    rule.why
                ));
            }
        }
    }
    for rule in rules {
        let unused = rule.rooms.iter().filter(|room| !used.get(rule.name).is_some_and(|used| used.contains(*room)));
        faults.extend(
            unused.map(|room| format!("CRATES: {room} may name {}, and no file of it does: take it out", rule.name)),
        );
    }
    faults.into_iter().collect()
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

struct Arrow<'all> {
    at: Use<'all>,
    from: &'all Room,
    to: &'all Room,
    path: String,
}

/// Every use of another room.
fn arrows_between<'all>(tree: &'all Tree, rooms: &'all [Room]) -> impl Iterator<Item = Arrow<'all>> {
    tree.uses().filter_map(|at| {
        let Meaning::Ours { module, path, .. } = &at.meaning else { return None };
        let (from, to) = (room_of(at.user, rooms)?, room_of(module, rooms)?);
        let path = path.clone();
        (from.path != to.path).then_some(Arrow { at, from, to, path })
    })
}
