//! Markdown to text with entities. Whatever Claude writes can be shown: where there is no markup for it, as plain text.

mod table;

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use teloxide::types::{MessageEntity, MessageEntityKind as Kind};

use self::table::Table;
use super::text::{Text, units};

const OPTIONS: Options = Options::ENABLE_STRIKETHROUGH.union(Options::ENABLE_TABLES).union(Options::ENABLE_TASKLISTS);

pub(super) fn to_text(markdown: &str) -> Text {
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, OPTIONS) {
        writer.event(event);
    }
    writer.finish()
}

/// Where some Markdown shows words rather than says them: code, and what is emphasised.
pub(super) fn shown_parts(markdown: &str) -> Vec<Range<usize>> {
    let shows = |event: &Event<'_>| {
        matches!(
            event,
            Event::Code(_) | Event::Start(Tag::CodeBlock(_) | Tag::Strong | Tag::Emphasis | Tag::Strikethrough)
        )
    };
    let events = Parser::new_ext(markdown, OPTIONS).into_offset_iter();
    events.filter(|(event, _)| shows(event)).map(|(_, range)| range).collect()
}

#[derive(Default)]
struct Writer {
    text: String,
    units: usize,
    entities: Vec<MessageEntity>,
    /// What has begun and not ended: where, and what it will be.
    open: Vec<(usize, Option<Kind>)>,
    /// Lists around here; the number of the next item, if they have numbers.
    lists: Vec<Option<u64>>,
    /// Line feeds that come before the next text.
    gap: usize,
    /// Whether the last thing written was an item's mark.
    at_mark: bool,
    in_code: bool,
    quotes: usize,
    /// Where the innermost quote began: its first block stands right there.
    quote_from: Option<usize>,
    link: Option<Link>,
    table: Option<Table>,
}

struct Link {
    start: usize,
    text_from: usize,
    url: String,
    image: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.write(&text),
            Event::Code(code) => {
                if let Some(cell) = self.cell() {
                    cell.push_str(&code);
                    return;
                }
                self.fill_gap();
                let start = self.units;
                self.write(&code);
                // In a link, the link is worth more.
                if self.link.is_none() {
                    self.mark(start, Kind::Code);
                }
            }
            Event::Html(html) | Event::InlineHtml(html) => self.write(&html),
            Event::InlineMath(math) | Event::DisplayMath(math) => self.write(&math),
            Event::FootnoteReference(name) => self.write(&format!("[{name}]")),
            Event::SoftBreak | Event::HardBreak => {
                if self.cell().is_some() {
                    self.write(" ");
                } else {
                    self.write("\n");
                    if !self.lists.is_empty() {
                        self.write(&"   ".repeat(self.lists.len()));
                    }
                }
            }
            Event::Rule => {
                self.block();
                self.write("———");
                self.block();
            }
            Event::TaskListMarker(done) => {
                // In place of the bullet.
                if self.text.ends_with("• ") {
                    self.text.truncate(self.text.len() - "• ".len());
                    self.units -= 2;
                }
                self.write(if done { "☑ " } else { "☐ " });
                self.at_mark = true;
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block_unless_marked(),
            Tag::Heading { level, .. } => {
                self.block();
                self.fill_gap();
                self.begin(Some(Kind::Bold));
                if level == HeadingLevel::H1 {
                    self.begin(Some(Kind::Underline));
                }
            }
            Tag::BlockQuote(_) => {
                self.block_unless_marked();
                self.fill_gap();
                self.quotes += 1;
                self.quote_from = Some(self.text.len());
                // Quotes do not nest.
                self.begin((self.quotes == 1).then_some(Kind::Blockquote));
            }
            Tag::CodeBlock(kind) => {
                self.block_unless_marked();
                if self.at_mark {
                    self.write("\n");
                }
                self.fill_gap();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',']).next().map(str::to_owned),
                    CodeBlockKind::Indented => None,
                };
                self.in_code = true;
                self.begin(Some(Kind::Pre { language: language.filter(|name| !name.is_empty()) }));
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.block();
                } else {
                    self.line();
                }
                self.lists.push(first);
            }
            Tag::Item => {
                self.line();
                let depth = self.lists.len().saturating_sub(1);
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                };
                self.write(&format!("{}{mark}", "   ".repeat(depth)));
                self.at_mark = true;
            }
            Tag::Emphasis => self.begin(Some(Kind::Italic)),
            Tag::Strong => self.begin(Some(Kind::Bold)),
            Tag::Strikethrough => self.begin(Some(Kind::Strikethrough)),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } if self.table.is_some() => {
                self.link = Some(Link { start: 0, text_from: 0, url: dest_url.into_string(), image: false });
            }
            Tag::Link { dest_url, .. } => {
                self.fill_gap();
                let (start, text_from) = (self.units, self.text.len());
                self.link = Some(Link { start, text_from, url: dest_url.into_string(), image: false });
            }
            Tag::Image { dest_url, .. } if self.link.is_none() => {
                self.write("🖼 ");
                let (start, text_from) = (self.units, self.text.len());
                self.link = Some(Link { start, text_from, url: dest_url.into_string(), image: true });
            }
            Tag::Table(columns) => {
                self.block_unless_marked();
                self.table = Some(Table { columns, rows: Vec::new() });
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.block(),
            TagEnd::Heading(level) => {
                if level == HeadingLevel::H1 {
                    self.close();
                }
                self.close();
                self.block();
            }
            TagEnd::BlockQuote(_) => {
                self.quotes = self.quotes.saturating_sub(1);
                self.close();
                self.gap = 0;
                self.block();
            }
            TagEnd::CodeBlock => {
                if self.text.ends_with('\n') {
                    self.text.pop();
                    self.units -= 1;
                }
                self.in_code = false;
                self.close();
                self.block();
            }
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.block();
                }
            }
            TagEnd::Item => {
                self.at_mark = false;
                self.line();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => self.close(),
            TagEnd::Link => self.end_link(false),
            TagEnd::Image => self.end_link(true),
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    for (text, kind) in table.drawn() {
                        self.write_as(&text, kind);
                    }
                    self.block();
                }
            }
            _ => {}
        }
    }

    fn end_link(&mut self, image: bool) {
        if self.table.is_some() {
            if let (Some(link), Some(cell)) = (self.link.take(), self.cell())
                && !link.url.is_empty()
                && *cell != link.url
            {
                cell.extend([" (", link.url.as_str(), ")"]);
            }
            return;
        }
        let Some(link) = self.link.take_if(|link| link.image == image) else { return };
        let said = self.text[link.text_from..].to_owned();
        match reqwest::Url::parse(&link.url).ok().filter(is_for_people) {
            Some(_) if said == link.url => {}
            Some(url) if !said.trim().is_empty() => self.mark(link.start, Kind::TextLink { url }),
            Some(_) => self.write(&link.url),
            // A path or an anchor: nothing Telegram could open, and still worth reading.
            None if link.url.is_empty() || said == link.url => {}
            None => self.write(&format!(" ({})", link.url)),
        }
    }

    fn cell(&mut self) -> Option<&mut String> {
        self.table.as_mut()?.rows.last_mut()?.last_mut()
    }

    fn write(&mut self, text: &str) {
        if let Some(cell) = self.cell() {
            cell.push_str(text);
            return;
        }
        if text.is_empty() {
            return;
        }
        self.fill_gap();
        self.at_mark = false;
        self.text.push_str(text);
        self.units += units(text);
    }

    fn write_as(&mut self, text: &str, kind: Option<Kind>) {
        if kind.is_none() {
            return self.write(text);
        }
        self.begin(kind);
        self.write(text);
        self.close();
    }

    fn fill_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !self.text.is_empty() && self.quote_from != Some(self.text.len()) {
            self.text.extend(std::iter::repeat_n('\n', gap));
            self.units += gap;
        }
    }

    /// What comes next is a block of its own.
    fn block(&mut self) {
        self.gap = if self.lists.is_empty() { 2 } else { 1 };
    }

    fn block_unless_marked(&mut self) {
        if !self.at_mark {
            self.block();
        }
    }

    /// What comes next begins a line.
    fn line(&mut self) {
        if !self.at_mark && self.gap == 0 && !self.text.is_empty() {
            self.gap = 1;
        }
    }

    fn begin(&mut self, kind: Option<Kind>) {
        self.fill_gap();
        self.open.push((self.units, kind));
    }

    fn close(&mut self) {
        if let Some((start, Some(kind))) = self.open.pop() {
            self.mark(start, kind);
        }
    }

    fn mark(&mut self, start: usize, kind: Kind) {
        if self.units > start && self.table.is_none() {
            self.entities.push(MessageEntity { kind, offset: start, length: self.units - start });
        }
    }

    fn finish(mut self) -> Text {
        while !self.open.is_empty() {
            self.close();
        }
        let trimmed = self.text.trim_end();
        let length = units(trimmed);
        self.text.truncate(trimmed.len());
        let mut entities = disjoint(self.entities);
        entities.retain_mut(|entity| {
            entity.length = entity.length.min(length.saturating_sub(entity.offset));
            entity.length > 0
        });
        entities.sort_by_key(|entity| (entity.offset, usize::MAX - entity.length));
        Text { text: self.text, entities }
    }
}

fn is_for_people(url: &reqwest::Url) -> bool {
    matches!(url.scheme(), "http" | "https" | "mailto" | "tel" | "tg")
}

/// Nothing but a quote may hold code: what does is divided around it.
fn disjoint(entities: Vec<MessageEntity>) -> Vec<MessageEntity> {
    let is_code = |entity: &MessageEntity| matches!(entity.kind, Kind::Code | Kind::Pre { .. });
    let (code, others): (Vec<_>, Vec<_>) = entities.into_iter().partition(is_code);
    let mut all = Vec::with_capacity(code.len() + others.len());
    for entity in others {
        if entity.kind == Kind::Blockquote {
            all.push(entity);
            continue;
        }
        let end = entity.offset + entity.length;
        let mut start = entity.offset;
        let mut inside: Vec<&MessageEntity> =
            code.iter().filter(|code| code.offset < end && code.offset + code.length > entity.offset).collect();
        inside.sort_by_key(|code| code.offset);
        for code in inside {
            if code.offset > start {
                all.push(MessageEntity { kind: entity.kind.clone(), offset: start, length: code.offset - start });
            }
            start = code.offset + code.length;
        }
        if start < end {
            all.push(MessageEntity { kind: entity.kind, offset: start, length: end - start });
        }
    }
    all.extend(code);
    all
}

#[cfg(test)]
mod tests;
