//! `images/pins`, as the tests read it: what the images are built from, and in which versions.

const PINS: &str = include_str!("../../images/pins");

/// The version of a thing of this kind, without the `v` of Go's.
pub(crate) fn version(kind: &str, name: &str) -> &'static str {
    let mut lines = PINS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .find_map(|words| match words.as_slice() {
            // `node 24.21.0`: the kind is the name.
            [first, version] if *first == kind && kind == name => Some(*version),
            [first, second, version, ..] if *first == kind && *second == name => Some(version.trim_start_matches('v')),
            _ => None,
        })
        .unwrap_or_else(|| panic!("images/pins has no {kind} {name}"))
}

/// Everything of this kind.
pub(crate) fn names(kind: &str) -> Vec<&'static str> {
    let lines = PINS.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    lines.filter_map(|rest| rest.split_whitespace().next()).collect()
}
