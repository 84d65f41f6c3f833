//! Reads one source file: what its modules define, what they import, and each path in their code.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::{self, Token};

/// A module: a file, or a `mod name { … }` inside one.
#[derive(Default)]
pub(crate) struct Module {
    /// Its file, from the repository's root.
    pub(crate) file: String,
    /// Functions, types, constants and macros that are defined here.
    pub(crate) items: BTreeSet<String>,
    /// Names that `use` brings in, each with the path as it is written.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    pub(crate) mentions: Vec<Mention>,
    /// Names that are used on their own, without a path, and where first.
    bare: BTreeMap<String, usize>,
}

/// A path in the code, as it is written.
pub(crate) struct Mention {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// The path is handed on by `pub use`; this module's own code does not use it.
    pub(crate) handed_on: bool,
}

/// The modules of a file by their paths (`runs::ledger`), and those that are only there for tests.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) modules: BTreeMap<String, Module>,
    pub(crate) test_modules: BTreeSet<String>,
}

/// Reads `text`, which is `file` and the module `path`.
pub(crate) fn read(file: &str, path: &str, text: &str) -> Result<Read, String> {
    let tokens = lexer::tokens(text).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let mut read = Read::default();
    Reader::new(file, path, &mut read).whole(&tokens);
    Ok(read)
}

/// `name` below the module `path`; the crate's root is empty.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}

struct Reader<'read> {
    path: String,
    module: Module,
    read: &'read mut Read,
}

/// Where in a file the tokens are.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Between the braces of a module: items are defined here only.
    Module,
    Inside,
    /// In an attribute of `serde`, whose strings may be paths.
    Serde,
}

impl<'read> Reader<'read> {
    fn new(file: &str, path: &str, read: &'read mut Read) -> Self {
        Self { path: path.to_owned(), module: Module { file: file.to_owned(), ..Module::default() }, read }
    }

    fn whole(mut self, tokens: &[Token]) {
        self.tokens(tokens, Place::Module);
        // A name that is handed on and used here too is a use of this module's.
        let used = self.module.mentions.iter().filter(|mention| mention.handed_on).filter_map(|mention| {
            let line = *self.module.bare.get(mention.path.last()?)?;
            Some(Mention { line, path: mention.path.clone(), handed_on: false })
        });
        let used: Vec<Mention> = used.collect();
        self.module.mentions.extend(used);
        self.read.modules.insert(self.path, self.module);
    }

    fn tokens(&mut self, tokens: &[Token], place: Place) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                Token::Mark('#') => self.attribute(tokens, at),
                Token::Word { text, line } => self.word(text, *line, tokens, at, place),
                Token::Group { inner, .. } => {
                    self.tokens(inner, if place == Place::Serde { place } else { Place::Inside });
                    at + 1
                }
                Token::Literal { text, line } if place == Place::Serde => {
                    self.path_in_a_string(text, *line);
                    at + 1
                }
                Token::Mark(_) | Token::Literal { .. } => at + 1,
            };
        }
    }

    /// `#[...]`, and after `#[cfg(test)]` the item as well. Gives where reading goes on.
    fn attribute(&mut self, tokens: &[Token], at: usize) -> usize {
        let bracket = if tokens.get(at + 1) == Some(&Token::Mark('!')) { at + 2 } else { at + 1 };
        let Some(inner) = group(tokens.get(bracket), '[') else { return at + 1 };
        match word(inner.first()) {
            Some("cfg")
                if group(inner.get(1), '(')
                    .is_some_and(|what| what.len() == 1 && word(what.first()) == Some("test")) =>
            {
                return self.skip_item(tokens, bracket + 1);
            }
            Some("serde") => self.tokens(inner, Place::Serde),
            _ => self.tokens(inner, Place::Inside),
        }
        bracket + 1
    }

    /// Passes over an item that only tests have: up to its braces, or its semicolon where it ends with one.
    fn skip_item(&mut self, tokens: &[Token], from: usize) -> usize {
        let mut ends_with_braces = true;
        for at in from..tokens.len() {
            match &tokens[at] {
                Token::Word { text, .. } if text == "mod" => {
                    if let Some(name) = word(tokens.get(at + 1)) {
                        self.read.test_modules.insert(below(&self.path, name));
                    }
                }
                Token::Word { text, .. } if ["use", "const", "static", "type"].contains(&text.as_str()) => {
                    // Not so for `const fn`.
                    ends_with_braces = word(tokens.get(at + 1)) == Some("fn");
                }
                Token::Mark(';') => return at + 1,
                Token::Group { open: '{', .. } if ends_with_braces => return at + 1,
                _ => {}
            }
        }
        tokens.len()
    }

    fn word(&mut self, text: &str, line: usize, tokens: &[Token], at: usize, place: Place) -> usize {
        let next = tokens.get(at + 1);
        match text {
            "pub" => return at + 1 + usize::from(is_visibility(next)),
            // `impl Trait + use<'a>` imports nothing.
            "use" if next != Some(&Token::Mark('<')) => return self.import(tokens, at),
            "mod" if place == Place::Module => {
                let Some((name, body)) = word(next).zip(group(tokens.get(at + 2), '{')) else { return at + 2 };
                Reader::new(&self.module.file, &below(&self.path, name), self.read).whole(body);
                return at + 3;
            }
            "macro_rules" if next == Some(&Token::Mark('!')) => {
                self.module.items.extend(word(tokens.get(at + 2)).map(str::to_owned));
                return at + 3;
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if place == Place::Module => {
                let name = at + 1 + usize::from(word(next) == Some("mut"));
                if let Some(defined) = word(tokens.get(name)).filter(|name| !BEFORE_FN.contains(name)) {
                    self.module.items.insert(defined.to_owned());
                    return name + 1;
                }
            }
            _ => {}
        }
        self.path(text, line, tokens, at)
    }

    /// A path in an expression, a type, a pattern: `a::b::C`. A field or a method (`.a`) is none.
    fn path(&mut self, first: &str, line: usize, tokens: &[Token], at: usize) -> usize {
        let mut path = vec![first.to_owned()];
        let mut end = at + 1;
        while let [Token::Mark(':'), Token::Mark(':'), Token::Word { text, .. }, ..] = &tokens[end..] {
            path.push(text.clone());
            end += 3;
        }
        let is_part = match &tokens[..at] {
            // The end of a range is no field.
            [.., Token::Mark('.'), Token::Mark('.')] => false,
            [.., Token::Mark('.')] | [.., Token::Mark('>'), Token::Mark(':'), Token::Mark(':')] => true,
            _ => false,
        };
        if !is_part {
            self.module.bare.entry(first.to_owned()).or_insert(line);
            if path.len() > 1 || first == "unsafe" {
                self.module.mentions.push(Mention { line, path, handed_on: false });
            }
        }
        end
    }

    /// `#[serde(with = "a::b")]`.
    fn path_in_a_string(&mut self, text: &str, line: usize) {
        let path: Vec<String> = text.split("::").map(str::to_owned).collect();
        let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if path.len() > 1 && path.iter().all(is_name) {
            self.module.mentions.push(Mention { line, path, handed_on: false });
        }
    }

    /// `use a::{b, c as d};`
    fn import(&mut self, tokens: &[Token], at: usize) -> usize {
        let handed_on = match &tokens[..at] {
            [.., visibility] if word(Some(visibility)) == Some("pub") => true,
            [.., visibility, group] => word(Some(visibility)) == Some("pub") && is_visibility(Some(group)),
            _ => false,
        };
        let length = tokens[at..].iter().position(|token| *token == Token::Mark(';')).unwrap_or(tokens.len() - at);
        self.use_tree(&[], &tokens[at + 1..at + length], handed_on);
        at + length + 1
    }

    fn use_tree(&mut self, prefix: &[String], tokens: &[Token], handed_on: bool) {
        for branch in tokens.split(|token| *token == Token::Mark(',')) {
            let mut path = prefix.to_vec();
            let mut alias = None;
            let mut at_line = 0;
            let mut words = branch.iter();
            while let Some(token) = words.next() {
                match token {
                    Token::Word { text, .. } if text == "as" => alias = word(words.next()),
                    Token::Word { text, line } => {
                        at_line = *line;
                        // `a::{self}` is `a`.
                        if text != "self" || path.is_empty() {
                            path.push(text.clone());
                        }
                    }
                    Token::Mark('*') => path.push("*".to_owned()),
                    Token::Group { inner, .. } => {
                        self.use_tree(&path, inner, handed_on);
                        path.clear();
                    }
                    Token::Mark(_) | Token::Literal { .. } => {}
                }
            }
            let Some(last) = path.last() else { continue };
            let name = alias.unwrap_or(last);
            if name != "_" && name != "*" {
                self.module.imports.entry(name.to_owned()).or_insert_with(|| path.clone());
            }
            self.module.mentions.push(Mention { line: at_line, path, handed_on });
        }
    }
}

/// What may stand between `const` and a name that is no constant's.
const BEFORE_FN: [&str; 4] = ["_", "async", "fn", "unsafe"];

fn word(token: Option<&Token>) -> Option<&str> {
    match token {
        Some(Token::Word { text, .. }) => Some(text),
        _ => None,
    }
}

fn group(token: Option<&Token>, opened: char) -> Option<&[Token]> {
    match token {
        Some(Token::Group { open, inner }) if *open == opened => Some(inner),
        _ => None,
    }
}

/// The brackets of `pub(super)` and `pub(in crate::doors)`; those of a field `pub (u8, u8)` are none.
fn is_visibility(token: Option<&Token>) -> bool {
    group(token, '(').is_some_and(|inner| match word(inner.first()) {
        Some("in") => true,
        Some("crate" | "super" | "self") => inner.len() == 1,
        _ => false,
    })
}
