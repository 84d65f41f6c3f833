//! The whole crate: its modules, and what a path means in one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::code::{self, Mention, Module, below};

/// Modules by their paths (`runs::ledger`); those of tests are left out.
pub(crate) struct Tree {
    pub(crate) modules: BTreeMap<String, Module>,
}

/// What a path means.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Something of this crate.
    Ours {
        /// The module that the path names: the one that hands an item on, if it is not the one that defines it.
        module: String,
        /// The module that defines the item; `None` for a path that names a module itself.
        home: Option<String>,
        /// The path from the crate on.
        path: String,
    },
    /// Something of another crate, or no module at all: a type parameter, a primitive type.
    Foreign(Vec<String>),
}

/// A use: which module uses what, and where in its file.
pub(crate) struct Use<'tree> {
    pub(crate) user: &'tree str,
    pub(crate) file: &'tree str,
    pub(crate) mention: &'tree Mention,
    pub(crate) meaning: Meaning,
}

impl Use<'_> {
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.mention.line)
    }
}

impl Tree {
    /// The sources of the crate whose folder is `root`.
    pub(crate) fn of_folder(root: &Path) -> Result<Self, String> {
        let mut sources = Vec::new();
        let mut folders = vec![root.join("src")];
        while let Some(folder) = folders.pop() {
            let said = |error| format!("{}: {error}", folder.display());
            for entry in fs::read_dir(&folder).map_err(said)? {
                let path = entry.map_err(said)?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).map_err(said)?;
                    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    sources.push((name, text));
                }
            }
        }
        Self::of_sources(sources.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }

    /// From files' names (`src/runs/mod.rs`) and texts.
    pub(crate) fn of_sources<'text>(
        sources: impl IntoIterator<Item = (&'text str, &'text str)>,
    ) -> Result<Self, String> {
        let mut modules = BTreeMap::new();
        let mut of_tests = BTreeSet::new();
        for (file, text) in sources {
            let path = module_of(file);
            let read = code::read(file, &path, text)?;
            modules.extend(read.modules);
            of_tests.extend(read.test_modules);
            if path.split("::").any(|name| name == "tests") {
                of_tests.insert(path);
            }
        }
        modules.retain(|path, _| !of_tests.iter().any(|test| is_within(path, test)));
        Ok(Self { modules })
    }

    /// Every path of the code, and what it means there.
    pub(crate) fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        self.modules.iter().flat_map(move |(user, module)| {
            module.mentions.iter().map(move |mention| Use {
                user,
                file: &module.file,
                mention,
                meaning: self.meaning(user, &mention.path),
            })
        })
    }

    /// Names that `use a::*` brings in are not followed; the `*` itself is a use of `a`.
    pub(crate) fn meaning(&self, from: &str, path: &[String]) -> Meaning {
        // A search has no end only where code cannot be built: a name that imports itself.
        self.search(from, path, 0).unwrap_or_else(|| Meaning::Foreign(path.to_vec()))
    }

    fn search(&self, from: &str, path: &[String], depth: usize) -> Option<Meaning> {
        const DEEPEST: usize = 20;
        let first = path.first().filter(|_| depth < DEEPEST)?.as_str();
        let (mut at, mut rest) = match first {
            // The binary's file calls the library by its name.
            "crate" | "claudebox" => (String::new(), &path[1..]),
            "self" => (from.to_owned(), &path[1..]),
            "super" => (parent(from), &path[1..]),
            name if self.knows(from, name) => (from.to_owned(), path),
            _ => return None,
        };
        while rest.first().is_some_and(|name| name == "super") {
            (at, rest) = (parent(&at), &rest[1..]);
        }
        let mut written_here = !["crate", "claudebox", "self", "super"].contains(&first);
        while let Some((name, after)) = rest.split_first() {
            let module = self.modules.get(&at);
            let child = below(&at, name);
            let is_item = module.is_some_and(|module| module.items.contains(name));
            if self.modules.contains_key(&child) && !(is_item && after.is_empty()) {
                (at, rest) = (child, after);
            } else if let Some(import) = module.and_then(|module| module.imports.get(name)).filter(|_| !is_item) {
                match self.search(&at, import, depth + 1) {
                    Some(Meaning::Ours { module, home: None, .. }) => (at, rest) = (module, after),
                    Some(Meaning::Ours { module, home, path }) => {
                        // This module's import stands for what it brings in; another module's import hands it on.
                        let (module, path) = if written_here { (module, path) } else { (at.clone(), full(&at, name)) };
                        return Some(Meaning::Ours { module, home, path });
                    }
                    foreign => {
                        let mut whole = match foreign {
                            Some(Meaning::Foreign(whole)) => whole,
                            _ => import.clone(),
                        };
                        whole.extend(after.iter().cloned());
                        return Some(Meaning::Foreign(whole));
                    }
                }
            } else {
                let path = full(&at, name);
                return Some(Meaning::Ours { module: at.clone(), home: Some(at), path });
            }
            written_here = false;
        }
        Some(Meaning::Ours { path: full(&at, ""), module: at, home: None })
    }

    fn knows(&self, module: &str, name: &str) -> bool {
        self.modules.contains_key(&below(module, name))
            || self
                .modules
                .get(module)
                .is_some_and(|module| module.items.contains(name) || module.imports.contains_key(name))
    }
}

/// `src/runs/ledger/mod.rs` is `runs::ledger`; `src/main.rs` counts as a module of its own.
fn module_of(file: &str) -> String {
    let name = file.trim_start_matches("src/").trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    if name == "lib" { String::new() } else { name.replace('/', "::") }
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or_else(String::new, |(parent, _)| parent.to_owned())
}

/// Whether `module` is `room` or below it.
pub(crate) fn is_within(module: &str, room: &str) -> bool {
    module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn full(module: &str, item: &str) -> String {
    ["crate", module, item].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("::")
}
