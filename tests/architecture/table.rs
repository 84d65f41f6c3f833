//! The table of ARCHITECTURE.md, printed from the list of rooms.

use crate::rooms::Room;
use crate::tree::Tree;

const BEGINS: &str = "<!-- rooms -->\n";
const ENDS: &str = "<!-- /rooms -->";

/// The page with the table as it should be.
pub(crate) fn written_into(page: &str, tree: &Tree, rooms: &[Room]) -> Result<String, String> {
    let (before, rest) = page.split_once(BEGINS).ok_or_else(|| format!("the line {} is missing", BEGINS.trim_end()))?;
    let (_, after) = rest.split_once(ENDS).ok_or_else(|| format!("the line {ENDS} is missing"))?;
    Ok(format!("{before}{BEGINS}\n{}\n{ENDS}{after}", table(tree, rooms)))
}

/// The table alone.
pub(crate) fn table(tree: &Tree, rooms: &[Room]) -> String {
    let mut table = "| folder | what it is for | may use |\n|---|---|---|\n".to_owned();
    for room in rooms {
        let file = tree.modules.get(room.path).map_or("", |module| &module.file);
        let place = file.strip_suffix("mod.rs").unwrap_or(file);
        let uses = room.may_use.join(", ");
        table.extend(["| `", place, "` | ", room.what, " |", if uses.is_empty() { "" } else { " " }, &uses, " |\n"]);
    }
    table
}
