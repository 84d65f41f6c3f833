//! Tables, of which Telegram knows nothing.

use pulldown_cmark::Alignment;
use teloxide::types::MessageEntityKind as Kind;

/// Widest table that is drawn as one, columns of letters; a wider one becomes a list. What a telephone shows in a line.
const WIDEST_TABLE: usize = 46;

#[derive(Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Alignment>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A piece of text, and its markup.
pub(super) type Piece = (String, Option<Kind>);

impl Table {
    /// The table as text.
    pub(super) fn drawn(&self) -> Vec<Piece> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max().unwrap_or(0))
            .collect();
        if widths.iter().sum::<usize>() + 3 * count.saturating_sub(1) > WIDEST_TABLE {
            return self.listed();
        }
        let rule = widths.iter().map(|&width| "─".repeat(width)).collect::<Vec<_>>().join("─┼─");
        let mut lines: Vec<String> = self.rows.iter().map(|row| self.line(row, &widths)).collect();
        lines.insert(1.min(lines.len()), rule);
        vec![(lines.join("\n"), Some(Kind::Pre { language: None }))]
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = widths.iter().enumerate().map(|(column, &width)| {
            let cell = row.get(column).map_or("", String::as_str);
            let room = width - wide(cell).min(width);
            let before = match self.columns.get(column) {
                Some(Alignment::Right) => room,
                Some(Alignment::Center) => room / 2,
                _ => 0,
            };
            format!("{}{cell}{}", " ".repeat(before), " ".repeat(room - before))
        });
        cells.collect::<Vec<_>>().join(" │ ").trim_end().to_owned()
    }

    /// A wide table: each row a few lines, its first cell the title.
    fn listed(&self) -> Vec<Piece> {
        let Some((head, rows)) = self.rows.split_first() else { return Vec::new() };
        if rows.is_empty() {
            return vec![(head.join(" · "), None)];
        }
        let labelled = |column: usize, cell: &str| match head.get(column).filter(|label| !label.is_empty()) {
            Some(label) => format!("{label}: {cell}"),
            None => cell.to_owned(),
        };
        let mut pieces = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                pieces.push(("\n\n".to_owned(), None));
            }
            pieces.push((labelled(0, row.first().map_or("", String::as_str)), Some(Kind::Bold)));
            for (column, cell) in row.iter().enumerate().skip(1).filter(|(_, cell)| !cell.is_empty()) {
                pieces.push((format!("\n{}", labelled(column, cell)), None));
            }
        }
        pieces
    }
}

fn wide(text: &str) -> usize {
    text.chars().count()
}
