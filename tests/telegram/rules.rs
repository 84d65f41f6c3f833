//! What Telegram rejects in a message.

use serde_json::Value;

/// Why Telegram would not take this text with these entities; its own words.
pub(crate) fn judge(text: Option<&Value>, entities: Option<&Value>, longest: usize) -> Result<(), String> {
    let text = text.and_then(Value::as_str).ok_or("Bad Request: message text is empty")?;
    if text.trim().is_empty() {
        return Err("Bad Request: message text is empty".into());
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    if units.len() > longest {
        return Err(if longest == 4096 {
            "Bad Request: message is too long"
        } else {
            "Bad Request: message caption is too long"
        }
        .into());
    }
    let wrong = |why: String| Err(format!("Bad Request: can't parse entities: {why}"));
    let Some(entities) = entities else { return Ok(()) };
    let Some(entities) = entities.as_array() else { return wrong("not an array".into()) };
    if entities.len() > 100 {
        return wrong("more than 100, the rest would be lost".into());
    }
    let mut ranges: Vec<(usize, usize, &str)> = Vec::new();
    for entity in entities {
        let number = |key: &str| entity[key].as_u64().and_then(|number| usize::try_from(number).ok());
        let (Some(offset), Some(length)) = (number("offset"), number("length")) else {
            return wrong(format!("no numbers: {entity}"));
        };
        let kind = entity["type"].as_str().unwrap_or_default();
        let known =
            ["bold", "italic", "underline", "strikethrough", "spoiler", "code", "pre", "text_link", "blockquote"];
        if !known.contains(&kind) {
            return wrong(format!("unknown type: {entity}"));
        }
        if kind == "text_link" && !entity["url"].is_string() {
            return wrong(format!("a link without address: {entity}"));
        }
        if length == 0 || offset + length > units.len() {
            return wrong(format!("out of range: {entity} of {}", units.len()));
        }
        let low = |at: usize| units.get(at).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
        if low(offset) || low(offset + length) {
            return wrong(format!("in the middle of a character: {entity}"));
        }
        ranges.push((offset, offset + length, kind));
    }
    for (number, &(start, end, kind)) in ranges.iter().enumerate() {
        for &(other_start, other_end, other) in &ranges[number + 1..] {
            if end <= other_start || other_end <= start {
                continue;
            }
            let nested = (start <= other_start && other_end <= end) || (other_start <= start && end <= other_end);
            let code = |kind: &str| kind == "code" || kind == "pre";
            let quote = |kind: &str| kind == "blockquote";
            if !nested
                || (code(kind) && !quote(other))
                || (code(other) && !quote(kind))
                || (quote(kind) && quote(other))
            {
                return wrong(format!("{kind} {start}..{end} and {other} {other_start}..{other_end}"));
            }
        }
    }
    Ok(())
}
