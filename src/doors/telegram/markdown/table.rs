//! Tables, of which Telegram knows nothing.

use pulldown_cmark::Alignment;
use teloxide::types::MessageEntityKind as Kind;

use super::Writer;

/// Widest table that is drawn as one, columns of letters; a wider one becomes a list. What a telephone shows in a line.
const WIDEST_TABLE: usize = 46;

#[derive(Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Alignment>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Writer {
    pub(super) fn draw(&mut self, table: &Table) {
        let count = table.rows.iter().map(Vec::len).max().unwrap_or(0);
        let wide = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..count)
            .map(|column| table.rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max().unwrap_or(0))
            .collect();
        if widths.iter().sum::<usize>() + 3 * count.saturating_sub(1) > WIDEST_TABLE {
            return self.list(table);
        }
        self.begin(Some(Kind::Pre { language: None }));
        for (number, row) in table.rows.iter().enumerate() {
            let cells = widths.iter().enumerate().map(|(column, &width)| {
                let cell = row.get(column).map_or("", String::as_str);
                let room = width - wide(cell).min(width);
                let before = match table.columns.get(column) {
                    Some(Alignment::Right) => room,
                    Some(Alignment::Center) => room / 2,
                    _ => 0,
                };
                format!("{}{cell}{}", " ".repeat(before), " ".repeat(room - before))
            });
            let line = cells.collect::<Vec<_>>().join(" │ ");
            self.write(&format!("{}{}", if number > 0 { "\n" } else { "" }, line.trim_end()));
            if number == 0 {
                let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
                self.write(&format!("\n{}", rule.join("─┼─")));
            }
        }
        self.close();
    }

    /// A wide table: each row a few lines, its first cell the title.
    fn list(&mut self, table: &Table) {
        let Some((head, rows)) = table.rows.split_first() else { return };
        if rows.is_empty() {
            return self.write(&head.join(" · "));
        }
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                self.write("\n\n");
            }
            let labelled = |column: usize, cell: &str| match head.get(column).filter(|label| !label.is_empty()) {
                Some(label) => format!("{label}: {cell}"),
                None => cell.to_owned(),
            };
            self.begin(Some(Kind::Bold));
            self.write(&labelled(0, row.first().map_or("", String::as_str)));
            self.close();
            for (column, cell) in row.iter().enumerate().skip(1).filter(|(_, cell)| !cell.is_empty()) {
                self.write(&format!("\n{}", labelled(column, cell)));
            }
        }
    }
}
