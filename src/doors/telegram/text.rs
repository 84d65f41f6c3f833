//! Text as Telegram takes it: plain, with entities that say which part of it is what. Lengths count UTF-16 units.

use teloxide::types::{MessageEntity, MessageEntityKind};

/// Longest message, UTF-16 units.
pub(super) const LONGEST_MESSAGE: usize = 4096;
/// Entities of one message; Telegram leaves the rest out.
const MOST_ENTITIES: usize = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Its entities, by where they begin.
    pub(super) entities: Vec<MessageEntity>,
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::plain(text)
    }
}

impl Text {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), entities: Vec::new() }
    }

    /// Text that is one thing as a whole, whatever stands in it.
    pub(super) fn marked(text: impl Into<String>, kind: MessageEntityKind) -> Self {
        let plain = Self::plain(text);
        let entity = MessageEntity { kind, offset: 0, length: plain.units() };
        Self { entities: vec![entity], ..plain }
    }

    pub(super) fn bold(text: impl Into<String>) -> Self {
        Self::marked(text, MessageEntityKind::Bold)
    }

    pub(super) fn italic(text: impl Into<String>) -> Self {
        Self::marked(text, MessageEntityKind::Italic)
    }

    pub(super) fn units(&self) -> usize {
        units(&self.text)
    }

    pub(super) fn append(&mut self, other: &Self) {
        let offset = self.units();
        self.text.push_str(&other.text);
        let moved =
            other.entities.iter().cloned().map(|entity| MessageEntity { offset: entity.offset + offset, ..entity });
        self.entities.extend(moved);
    }

    /// Its messages: at most `longest` units each, divided where a reader would pause.
    pub(super) fn split(&self, longest: usize) -> Vec<Self> {
        let all: Vec<u16> = self.text.encode_utf16().collect();
        let mut parts = Vec::new();
        let mut start = 0;
        while start < all.len() {
            let end = self.end_of_part(&all, start, longest);
            parts.extend(self.part(&all, start, end));
            start = end;
        }
        parts
    }

    /// Its end, if it is longer than `longest` units; what was left out is marked.
    pub(super) fn tail(&self, longest: usize) -> Self {
        let all: Vec<u16> = self.text.encode_utf16().collect();
        if all.len() <= longest {
            return self.clone();
        }
        let mut start = all.len() - longest.saturating_sub(2);
        let line = all[start..].iter().position(|&unit| unit == u16::from(b'\n')).filter(|&at| at < longest / 4);
        start += line.map_or(0, |at| at + 1);
        if is_low(all[start]) {
            start += 1;
        }
        let mut tail = Self::plain("…\n");
        tail.append(&self.part(&all, start, all.len()).unwrap_or_default());
        tail
    }

    fn end_of_part(&self, all: &[u16], start: usize, longest: usize) -> usize {
        let too_many = self.entities.iter().filter(|entity| entity.offset + entity.length > start).nth(MOST_ENTITIES);
        let limit = too_many.map_or(usize::MAX, |entity| entity.offset).max(start + 1);
        if all.len() <= start + longest && all.len() <= limit {
            return all.len();
        }
        let limit = limit.min(start + longest).min(all.len());
        let block = self.entities.iter().find(|entity| {
            matches!(entity.kind, MessageEntityKind::Pre { .. })
                && entity.offset < limit
                && limit < entity.offset + entity.length
        });
        if let Some(block) = block {
            // A block that fits into the next message goes there whole, unless most of this one would stay empty.
            if block.offset > start + longest / 4 && block.length <= longest {
                return block.offset;
            }
            if let Some(line) =
                last(all, start, limit, |part| part.ends_with(&[NEW_LINE])).filter(|&at| at > block.offset)
            {
                return line;
            }
        }
        let half = start + (limit - start) / 2;
        let pauses: [fn(&[u16]) -> bool; 4] = [
            |part| part.ends_with(&[NEW_LINE, NEW_LINE]),
            |part| part.ends_with(&[NEW_LINE]),
            |part| matches!(part, [.., b, SPACE] if [b'.', b'!', b'?', b':', b';'].map(u16::from).contains(b)),
            |part| part.ends_with(&[SPACE]),
        ];
        let pause = pauses.into_iter().find_map(|pause| last(all, start, limit, pause).filter(|&at| at > half));
        let end = pause.or_else(|| last(all, start, limit, |part| part.ends_with(&[SPACE]))).unwrap_or(limit);
        // Both halves of a character stay together.
        if end < all.len() && is_low(all[end]) && end - 1 > start { end - 1 } else { end }
    }

    /// A part with its share of the entities; `None` if nothing can be seen in it.
    fn part(&self, all: &[u16], start: usize, end: usize) -> Option<Self> {
        let white = |unit: &u16| [b' ', b'\n', b'\t', b'\r'].map(u16::from).contains(unit);
        let leading = all[start..end].iter().take_while(|&&unit| unit == NEW_LINE).count();
        let trailing = all[start + leading..end].iter().rev().take_while(|unit| white(unit)).count();
        let (start, end) = (start + leading, end - trailing);
        let text = String::from_utf16_lossy(&all[start..end]);
        if text.trim().is_empty() {
            return None;
        }
        let shares = self.entities.iter().filter_map(|entity| {
            let (from, to) = (entity.offset.max(start), (entity.offset + entity.length).min(end));
            (from < to).then(|| MessageEntity { kind: entity.kind.clone(), offset: from - start, length: to - from })
        });
        Some(Self { text, entities: shares.take(MOST_ENTITIES).collect() })
    }
}

const NEW_LINE: u16 = b'\n' as u16;
const SPACE: u16 = b' ' as u16;

/// Where the last part of `all[start..limit]` ends that `pause` holds for.
fn last(all: &[u16], start: usize, limit: usize, pause: impl Fn(&[u16]) -> bool) -> Option<usize> {
    (start + 1..=limit).rev().find(|&end| pause(&all[start..end]))
}

/// Whether this is the second half of a character.
const fn is_low(unit: u16) -> bool {
    unit >> 10 == 0b11_0111
}

pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The beginning of a text in a line, at most `longest` units.
pub(super) fn line(text: &str, longest: usize) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), longest)
}

/// The beginning of a text, at most `longest` units; what is left out is marked.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if units(text) <= longest {
        return text.to_owned();
    }
    let mut taken = 1;
    let mut start: String = text
        .chars()
        .take_while(|letter| {
            taken += letter.len_utf16();
            taken <= longest
        })
        .collect();
    start.push('…');
    start
}
