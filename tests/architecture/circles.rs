//! Circles of files: files that cannot be read, tested or moved one without the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Meaning, Tree, is_within};

/// For each file the files it uses, and for each of those the items, with the line of their first use.
///
/// The declaration of a child module is no use, and handing on an item of a child (`pub use`) is none either: a parent
/// is not in a circle with its child for that. An item that was handed on counts as one of the file that defines it.
type Graph<'tree> = BTreeMap<&'tree str, BTreeMap<&'tree str, BTreeMap<String, usize>>>;

/// Files each of which uses each of the others, at least by way of them.
pub(crate) struct Circle {
    pub(crate) files: BTreeSet<String>,
    /// The uses among them, one line for a pair of files.
    pub(crate) uses: Vec<String>,
}

pub(crate) fn circles(tree: &Tree) -> Vec<Circle> {
    let graph = graph(tree);
    let reach: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|file| (*file, reachable(&graph, file))).collect();
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|found| found.contains(to));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in graph.keys().filter(|file| reaches(file, file)) {
        if seen.contains(file) {
            continue;
        }
        let files: BTreeSet<&str> = reach[file].iter().copied().filter(|other| reaches(other, file)).collect();
        seen.extend(files.iter().copied());
        let mut uses = Vec::new();
        for user in &files {
            for (used, items) in graph[user].iter().filter(|(used, _)| files.contains(*used)) {
                let items: Vec<String> = items.iter().map(|(name, line)| format!("{name} (line {line})")).collect();
                uses.push(format!("{user} uses {used}: {}", items.join(", ")));
            }
        }
        found.push(Circle { files: files.into_iter().map(str::to_owned).collect(), uses });
    }
    found
}

impl std::fmt::Display for Circle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "a circle of {} files: {}",
            self.files.len(),
            self.files.iter().cloned().collect::<Vec<_>>().join(", ")
        )?;
        self.uses.iter().try_for_each(|line| write!(out, "\n  {line}"))
    }
}

fn graph(tree: &Tree) -> Graph<'_> {
    let mut graph = Graph::new();
    for at in tree.uses() {
        let Meaning::Ours { home: Some(home), path, .. } = at.meaning else { continue };
        if at.mention.handed_on && is_within(&home, at.user) {
            continue;
        }
        let used = tree.modules.get(&home).map_or("src/lib.rs", |module| module.file.as_str());
        if used != at.file {
            let items = graph.entry(at.file).or_default().entry(used).or_default();
            let name = path.rsplit("::").next().unwrap_or_default().to_owned();
            let line = items.entry(name).or_insert(at.mention.line);
            *line = at.mention.line.min(*line);
        }
    }
    graph
}

fn reachable<'tree>(graph: &Graph<'tree>, from: &'tree str) -> BTreeSet<&'tree str> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        let used = graph.get(file).into_iter().flat_map(BTreeMap::keys);
        next.extend(used.filter(|used| found.insert(**used)));
    }
    found
}
