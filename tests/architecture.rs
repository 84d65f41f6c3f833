//! The layers of ARCHITECTURE.md, checked: arrows between modules only point down.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each top-level module may use of the others.
const MAY_USE: [(&str, &[&str]); 24] = [
    ("atomic_file", &[]),
    ("backoff", &[]),
    ("plain_file", &[]),
    ("exit_code", &[]),
    ("sys", &[]),
    ("json_file", &["atomic_file", "json_text"]),
    ("json_text", &[]),
    ("offline_model", &[]),
    ("config", &["privilege"]),
    ("privilege", &["exit_code", "sys"]),
    ("process", &["exit_code", "privilege", "sys"]),
    ("boot", &["atomic_file", "config", "exit_code", "privilege", "process", "sys"]),
    ("init", &["backoff", "boot", "config", "exit_code", "privilege", "process", "sys"]),
    ("claude", &["atomic_file", "config", "exit_code", "json_file", "json_text", "plain_file", "process"]),
    ("install", &["claude"]),
    ("manifest", &["atomic_file", "boot", "config", "plain_file", "privilege", "sys"]),
    ("worker", &["claude", "config", "exit_code", "privilege", "process", "sys", "turn"]),
    ("fetch", &["config"]),
    ("workspace", &["config"]),
    ("store", &["claude"]),
    ("turn", &["claude", "config", "json_text"]),
    (
        "runs",
        &[
            "atomic_file",
            "backoff",
            "claude",
            "config",
            "exit_code",
            "fetch",
            "json_text",
            "process",
            "store",
            "sys",
            "turn",
            "worker",
            "workspace",
        ],
    ),
    ("doors", &["atomic_file", "backoff", "claude", "config", "fetch", "runs", "store", "workspace"]),
    (
        "cli",
        &[
            "atomic_file",
            "boot",
            "claude",
            "config",
            "doors",
            "exit_code",
            "fetch",
            "init",
            "install",
            "manifest",
            "offline_model",
            "privilege",
            "process",
            "runs",
            "sys",
            "turn",
            "worker",
            "workspace",
        ],
    ),
];

/// Modules of processes that must stay single-threaded: a runtime's threads would keep privileges and steal statuses.
const WITHOUT_A_RUNTIME: [&str; 11] =
    ["boot", "claude", "config", "init", "manifest", "privilege", "process", "sys", "turn", "worker", "workspace"];

#[test]
fn arrows_only_point_down() {
    let rules: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(module, allowed)| (*module, allowed.iter().copied().collect())).collect();
    for (module, text) in sources() {
        let allowed =
            rules.get(module.as_str()).unwrap_or_else(|| panic!("{module} is in no layer: add it to MAY_USE"));
        for used in uses(&text) {
            assert!(
                used == module || allowed.contains(used.as_str()) || !rules.contains_key(used.as_str()),
                "{module} may not use {used}"
            );
        }
    }
}

#[test]
fn the_supervisor_knows_no_runtime() {
    for (module, text) in sources().into_iter().filter(|(module, _)| WITHOUT_A_RUNTIME.contains(&module.as_str())) {
        for runtime in ["tokio::", "axum::"] {
            assert!(!text.contains(runtime), "{module} uses {runtime}");
        }
    }
}

#[test]
fn unsafe_code_has_one_home() {
    for (module, text) in sources() {
        assert!(module == "sys" || !text.contains("unsafe {"), "{module} has unsafe code");
    }
}

/// Every source file below a top-level module: the module's name and the file's code, comments left out.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Some(module) = module(&root, &path) {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push((module, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    assert!(found.len() > 30, "only {} files were found", found.len());
    found
}

fn module(root: &Path, path: &Path) -> Option<String> {
    let below: PathBuf = path.strip_prefix(root).unwrap().with_extension("");
    let first = below.iter().next().unwrap().to_str().unwrap().to_owned();
    (!["main", "lib"].contains(&first.as_str())).then_some(first)
}

/// Modules named after `crate::`; those in braces after it too.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = rest.strip_prefix('{').and_then(|inner| inner.split('}').next());
        let names = list.map_or_else(|| vec![rest], |inner| inner.split(',').collect());
        let word =
            |name: &str| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        found.extend(names.into_iter().map(word));
    }
    found
}
