use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;

use super::super::text::{LONGEST_MESSAGE, units};
use super::*;

/// What the tests' Bot API rejects.
#[path = "../../../../tests/telegram/rules.rs"]
mod rules;

/// Answers as Claude writes them, after a line `=== NAME` each.
const ANSWERS: &str = include_str!("../../../../tests/data/telegram_answers.md");

fn answers() -> Vec<(&'static str, &'static str)> {
    let answers = ANSWERS.split("\n=== ").skip(1);
    answers.map(|answer| answer.split_once('\n').unwrap()).collect()
}

/// Checks what is true of any text: each message is one that Telegram takes, and together they are the text, except for
/// space where it was divided.
fn check(name: &str, markdown: &str, longest: usize) -> Result<Vec<Text>, TestCaseError> {
    let text = to_text(markdown);
    let messages = text.split(longest);
    for message in &messages {
        let entities = serde_json::to_value(&message.entities).unwrap();
        let verdict = rules::judge(Some(&Value::from(message.text.as_str())), Some(&entities), longest);
        prop_assert!(verdict.is_ok(), "{name}: {verdict:?} of {:?}", message.text);
        prop_assert!(message.units() <= longest, "{name}: {} units", message.units());
        prop_assert!(!message.text.contains('\u{fffd}') || markdown.contains(['\u{fffd}', '\0', '&']), "{name}");
    }
    let visible = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
    let together: String = messages.iter().map(|message| visible(&message.text)).collect();
    prop_assert_eq!(together, visible(&text.text), "{}", name);
    // A block that was divided is one in each part, in the same language.
    let code = |entities: &[MessageEntity], text: &str| -> Vec<(Option<String>, String)> {
        let all: Vec<u16> = text.encode_utf16().collect();
        let blocks = entities.iter().filter_map(|entity| match &entity.kind {
            Kind::Pre { language } => Some((language.clone(), &all[entity.offset..entity.offset + entity.length])),
            _ => None,
        });
        blocks.map(|(language, code)| (language, visible(&String::from_utf16(code).unwrap()))).collect()
    };
    let whole = code(&text.entities, &text.text);
    let mut parts = messages.iter().flat_map(|message| code(&message.entities, &message.text));
    for (language, block) in whole.into_iter().filter(|(_, block)| !block.is_empty()) {
        let mut joined = String::new();
        while joined.len() < block.len() {
            let Some((of_part, part)) = parts.next() else { break };
            prop_assert_eq!(&of_part, &language, "{}", name);
            joined.push_str(&part);
        }
        prop_assert_eq!(joined, block, "{}", name);
    }
    Ok(messages)
}

#[test]
fn each_of_a_hundred_answers_can_be_shown_and_loses_nothing_but_markup() {
    let answers = answers();
    assert_eq!(answers.len(), 100);
    let (mut many, mut kinds) = (0, std::collections::BTreeSet::new());
    for (name, markdown) in answers {
        // Some lengths that bring other places to divide at.
        for longest in [LONGEST_MESSAGE, 700, 97] {
            check(name, markdown, longest).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let text = to_text(markdown);
        many += usize::from(text.split(LONGEST_MESSAGE).len() > 1);
        let mut found = text.text.clone();
        for entity in &text.entities {
            kinds.insert(format!("{:?}", entity.kind).split([' ', '{']).next().unwrap().to_owned());
            match &entity.kind {
                Kind::TextLink { url } => write!(found, " {url}").unwrap(),
                Kind::Pre { language: Some(language) } => write!(found, " {language}").unwrap(),
                _ => {}
            }
        }
        let (mut at, mut lost) = (0, Vec::new());
        for word in markdown.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let place = markdown[at..].find(word).unwrap() + at;
            at = place + word.len();
            let is_reference = markdown[..place].ends_with(['&', '#']) && markdown[at..].starts_with(';');
            let is_number = markdown[at..].starts_with(['.', ')']) && word.bytes().all(|byte| byte.is_ascii_digit());
            // In an address, other letters are written in their bytes.
            let encoded = word.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
            if !found.contains(word) && !found.contains(&encoded) && !is_reference && !is_number {
                lost.push(word);
            }
        }
        assert!(lost.is_empty(), "{name} lost {lost:?}\n{}", text.text);
    }
    assert!(many >= 5, "{many} are longer than a message");
    let all = ["Blockquote", "Bold", "Code", "Italic", "Pre", "Strikethrough", "TextLink", "Underline"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn it_reads_as_it_was_meant() {
    let cases = [
        ("# Title\n\nSome *text*\nin two lines.", "Title\n\nSome text\nin two lines."),
        ("1. one\n2. two\n   - inner\n   - more\n3. three", "1. one\n2. two\n   • inner\n   • more\n3. three"),
        ("text\n\n> quoted\n\n- item\n  > in it\n  > ```\n  > code\n  > ```", "text\n\nquoted\n\n• item\nin it\ncode"),
        ("- [x] done\n- [ ] open", "☑ done\n☐ open"),
        ("before\n\n---\n\nafter", "before\n\n———\n\nafter"),
        ("| a | b |\n|---|--:|\n| x | 10 |\n| yy | 2 |", "a  │  b\n───┼───\nx  │ 10\nyy │  2"),
        (
            "see [here](https://a.example/x) or [there](./b.rs) or <https://c.example>",
            "see here or there (./b.rs) or https://c.example",
        ),
        ("> quoted\n> > deeper\n\nplain", "quoted\n\ndeeper\n\nplain"),
        ("a &lt;b&gt; &amp; <i>c</i>", "a <b> & <i>c</i>"),
        ("```rust\nlet a = 1;\n\nlet b;\n```\nend", "let a = 1;\n\nlet b;\n\nend"),
        ("```\nnever closed\n", "never closed"),
        ("", ""),
        ("\n\n  \n", ""),
    ];
    for (markdown, text) in cases {
        assert_eq!(to_text(markdown).text, text, "{markdown:?}");
    }
}

#[test]
fn a_long_block_is_divided_at_its_lines_and_a_short_one_is_not() {
    let lines = (0..400).map(|number| format!("    value_{number} = {number};\n")).collect::<Vec<_>>().concat();
    let long = check("long", &format!("Before.\n\n```c\n{lines}```\n\nAfter."), LONGEST_MESSAGE).unwrap();
    assert!(long.len() > 2);
    for message in &long {
        assert!(message.text.lines().all(|line| line.is_empty() || line.ends_with([';', '.'])), "{}", message.text);
    }
    // One that would fit goes to the next message as a whole.
    let text = "word ".repeat(700);
    let block = "x = 1\n".repeat(150);
    let short = check("short", &format!("{text}\n\n```python\n{block}```"), LONGEST_MESSAGE).unwrap();
    assert_eq!(short.len(), 2);
    assert!(short[1].text.starts_with("x = 1") && short[1].entities.len() == 1, "{short:?}");
    // No line to divide at, and no place in a line.
    let single = format!("```\n{}\n```", "🎈".repeat(5000));
    assert!(check("single", &single, LONGEST_MESSAGE).unwrap().len() >= 3);
}

/// Markdown whose words are all different, and the words.
fn documents() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z]{1,8}",
        "[а-я]{1,6}",
        "[一-十]{1,4}",
        "[א-ת]{1,4}",
        Just("🎈👩‍👩‍👧‍👦".to_owned()),
        "[a-z]{300,500}"
    ];
    let inline = prop_oneof![
        4 => word.clone(),
        1 => word.clone().prop_map(|word| format!("**{word}**")),
        1 => word.clone().prop_map(|word| format!("*{word}* ~~{word}~~ ***{word} `{word}`***")),
        1 => word.clone().prop_map(|word| format!("`{word}`")),
        1 => word.clone().prop_map(|word| format!("[{word} **b `c`**](https://a.example/{word})")),
        1 => word.clone().prop_map(|word| format!("![{word}](pic.png) <b>{word}</b>")),
        1 => Just("**open _and `never".to_owned()),
    ];
    let line = proptest::collection::vec(inline, 1..12).prop_map(|words| words.join(" "));
    let block = prop_oneof![
        4 => line.clone(),
        1 => line.clone().prop_map(|line| format!("## {line}")),
        1 => proptest::collection::vec(line.clone(), 1..6).prop_map(|lines| lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")),
        1 => proptest::collection::vec(line.clone(), 1..4).prop_map(|lines| lines.iter().map(|line| format!("1. {line}\n   > {line}\n   * {line}")).collect::<Vec<_>>().join("\n")),
        1 => (proptest::collection::vec(line.clone(), 1..40), "[a-z]{0,4}").prop_map(|(lines, language)| format!("```{language}\n{}\n```", lines.join("\n"))),
        1 => line.clone().prop_map(|line| format!("> {line}\n>\n> ```\n> {line}\n> ```")),
        1 => (line.clone(), line.clone()).prop_map(|(one, two)| format!("| {one} | h |\n|---|---|\n| {two} | {two} |")),
        1 => Just("```unclosed\ncode".to_owned()),
        1 => Just("---".to_owned()),
    ];
    proptest::collection::vec(block, 0..20).prop_map(|blocks| blocks.join("\n\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_document_becomes_messages_that_telegram_takes(document in documents(), longest in prop_oneof![Just(4096_usize), 60_usize..800]) {
        check("document", &document, longest)?;
    }

    #[test]
    fn any_letters_become_messages_that_telegram_takes(text in "[*_`~\\[\\]()<>#\\-+|>!\\\\ \\n\\t1.a🎈é&;:/\\PC]{0,400}", longest in 8_usize..200) {
        check("letters", &text, longest)?;
    }

    #[test]
    fn the_end_of_any_text_fits_as_well(document in documents(), longest in 20_usize..4000) {
        let tail = to_text(&document).tail(longest);
        prop_assert!(tail.units() <= longest.max(2), "{} of {longest}", tail.units());
        let entities = serde_json::to_value(&tail.entities).unwrap();
        if !tail.text.trim().is_empty() {
            prop_assert_eq!(rules::judge(Some(&Value::from(tail.text.as_str())), Some(&entities), 4096), Ok(()));
        }
    }

    #[test]
    fn words_come_out_in_the_order_they_went_in(words in proptest::collection::vec("[a-z]{2,6}", 1..60), marks in proptest::collection::vec(0_usize..7, 60)) {
        let numbered: Vec<String> = words.iter().enumerate().map(|(number, word)| format!("{word}{number}x")).collect();
        let mut document = String::new();
        for (word, mark) in numbered.iter().zip(marks) {
            let _ = match mark {
                0 => write!(document, "**{word}** "),
                1 => write!(document, "`{word}` "),
                2 => write!(document, "\n\n# {word}\n\n"),
                3 => write!(document, "\n\n- {word}\n  1. "),
                4 => write!(document, "\n\n```\n{word}\n```\n\n"),
                5 => write!(document, "\n\n> {word}\n\n"),
                _ => write!(document, "{word} "),
            };
        }
        let text = to_text(&document).text;
        let found: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.ends_with('x')).collect();
        prop_assert_eq!(found, numbered.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn a_length_is_counted_as_telegram_counts() {
    assert_eq!([units("a"), units("é"), units("漢"), units("🎈"), units("👩‍👧")], [1, 1, 1, 2, 5]);
}

/// Writes some answers as pages, to be looked at; only where `CLAUDEBOX_TELEGRAM_PAGES` names a folder for them.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("CLAUDEBOX_TELEGRAM_PAGES").map(std::path::PathBuf::from) else { return };
    let style = "<meta charset=utf-8><style>body{background:#d5e3ee;font:15px sans-serif;width:420px}div{background:#fff;border-radius:10px;margin:8px;padding:8px 12px;white-space:pre-wrap;overflow-wrap:anywhere}pre{background:#f0f2f4;margin:0;padding:4px;white-space:pre-wrap;font:13px monospace}code{color:#a33}blockquote{border-left:3px solid #39c;margin:0;padding-left:8px}</style>";
    for (name, markdown) in answers().into_iter().step_by(10) {
        let mut page = style.to_owned();
        for message in to_text(markdown).split(LONGEST_MESSAGE) {
            write!(page, "<div>{}</div>", html(&message)).unwrap();
        }
        std::fs::write(folder.join(format!("{}.html", name.replace(' ', "-"))), page).unwrap();
    }
}

fn html(text: &Text) -> String {
    let tags = |kind: &Kind| match kind {
        Kind::Bold => ("<b>".to_owned(), "</b>"),
        Kind::Italic => ("<i>".to_owned(), "</i>"),
        Kind::Underline => ("<u>".to_owned(), "</u>"),
        Kind::Strikethrough => ("<s>".to_owned(), "</s>"),
        Kind::Code => ("<code>".to_owned(), "</code>"),
        Kind::Pre { .. } => ("<pre>".to_owned(), "</pre>"),
        Kind::Blockquote => ("<blockquote>".to_owned(), "</blockquote>"),
        Kind::TextLink { url } => (format!("<a href='{url}'>"), "</a>"),
        other => panic!("{other:?}"),
    };
    let (mut page, mut at, mut open): (String, usize, Vec<usize>) = (String::new(), 0, Vec::new());
    let mut starts = text.entities.iter().enumerate().peekable();
    for letter in text.text.chars() {
        while let Some(number) =
            open.pop_if(|number| text.entities[*number].offset + text.entities[*number].length <= at)
        {
            page.push_str(tags(&text.entities[number].kind).1);
        }
        while let Some((number, entity)) = starts.next_if(|(_, entity)| entity.offset == at) {
            page.push_str(&tags(&entity.kind).0);
            open.push(number);
        }
        match letter {
            '<' => page.push_str("&lt;"),
            '&' => page.push_str("&amp;"),
            letter => page.push(letter),
        }
        at += letter.len_utf16();
    }
    while let Some(number) = open.pop() {
        page.push_str(tags(&text.entities[number].kind).1);
    }
    page
}
