//! Rust's words, marks and brackets, as far as reading paths needs them.
//!
//! By hand, because a parser costs every build. `syn` and `proc-macro2` are in the tree for macros only; with either as
//! a dev-dependency, cargo builds each derive and all that derives (serde, tokio, axum) once for `cargo build` and once
//! more for `cargo test`. `syn` leaves the insides of `select!` and `assert!` as bare tokens too: paths are read from
//! tokens either way.

/// A token. Comments and lifetimes are none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Word {
        text: String,
        line: usize,
    },
    Mark(char),
    /// A string's inside, a character or a number.
    Literal {
        text: String,
        line: usize,
    },
    Group {
        open: char,
        inner: Vec<Token>,
    },
}

/// The tokens of a file, or what is wrong with it.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    Lexer { text: text.chars().collect(), at: 0, line: 1 }.until(None)
}

struct Lexer {
    text: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let found = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(found == '\n');
        Some(found)
    }

    /// Takes characters as long as they are `wanted`.
    fn run(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut found = String::new();
        while self.peek(0).is_some_and(&wanted) {
            found.extend(self.next());
        }
        found
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, wanted)| self.peek(ahead) == Some(wanted))
    }

    /// Up to the bracket that closes, or the end of the file.
    fn until(&mut self, closes: Option<char>) -> Result<Vec<Token>, String> {
        let mut found = Vec::new();
        let opened = self.line;
        while let Some(next) = self.peek(0) {
            let line = self.line;
            match next {
                _ if Some(next) == closes => {
                    self.next();
                    return Ok(found);
                }
                ')' | ']' | '}' => return Err(format!("line {line}: {next} closes nothing")),
                '/' if self.starts_with("//") => drop(self.run(|c| c != '\n')),
                '/' if self.starts_with("/*") => self.comment(),
                '\'' => found.extend(self.quote(line)),
                '"' => found.push(self.string(line)),
                '(' => found.push(self.group('(', ')')?),
                '[' => found.push(self.group('[', ']')?),
                '{' => found.push(self.group('{', '}')?),
                _ if next.is_ascii_digit() => {
                    let text = self.number();
                    found.push(Token::Literal { text, line });
                }
                _ if is_word(next) => found.push(self.word(line)),
                _ => {
                    self.next();
                    if !next.is_whitespace() {
                        found.push(Token::Mark(next));
                    }
                }
            }
        }
        closes.map_or(Ok(found), |closes| Err(format!("line {opened}: {closes} is missing")))
    }

    fn group(&mut self, open: char, close: char) -> Result<Token, String> {
        self.next();
        Ok(Token::Group { open, inner: self.until(Some(close))? })
    }

    /// Comments nest.
    fn comment(&mut self) {
        let mut depth = 0;
        loop {
            let change = if self.starts_with("/*") { 1 } else { -i32::from(self.starts_with("*/")) };
            depth += change;
            self.at += usize::from(change != 0);
            if self.next().is_none() || depth == 0 {
                return;
            }
        }
    }

    /// `'a'`, `'\n'`, or a lifetime.
    fn quote(&mut self, line: usize) -> Option<Token> {
        self.next();
        if self.peek(0) != Some('\\') && self.peek(1) != Some('\'') {
            self.run(is_word);
            return None;
        }
        Some(self.quoted('\'', line))
    }

    fn string(&mut self, line: usize) -> Token {
        self.next();
        self.quoted('"', line)
    }

    fn quoted(&mut self, end: char, line: usize) -> Token {
        let mut text = String::new();
        while let Some(next) = self.next().filter(|&next| next != end) {
            text.push(next);
            if next == '\\' {
                text.extend(self.next());
            }
        }
        Token::Literal { text, line }
    }

    /// `1_000`, `0xff`, `1.5`, but not more than the 1 of `1..2` and `1.max(2)`.
    fn number(&mut self) -> String {
        let mut text = self.run(is_word);
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|digit| digit.is_ascii_digit()) {
            text.extend(self.next());
            text.push_str(&self.run(is_word));
        }
        text
    }

    /// A name, or a string with letters before it: `b"..."`, `r#"..."#`. Raw names lose their `r#`.
    fn word(&mut self, line: usize) -> Token {
        let text = self.run(is_word);
        let hashes = self.text[self.at..].iter().take_while(|&&next| next == '#').count();
        match (text.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => self.raw_string(hashes, line),
            ("b" | "c", Some('"')) if hashes == 0 => self.string(line),
            ("b", Some('\'')) if hashes == 0 => {
                self.next();
                self.quoted('\'', line)
            }
            ("r", Some(first)) if hashes == 1 && is_word(first) => {
                self.next();
                self.word(line)
            }
            _ => Token::Word { text, line },
        }
    }

    fn raw_string(&mut self, hashes: usize, line: usize) -> Token {
        let end = format!("\"{}", "#".repeat(hashes));
        self.at += hashes + 1;
        let mut text = String::new();
        while !self.starts_with(&end) && self.peek(0).is_some() {
            text.extend(self.next());
        }
        self.at += end.len();
        Token::Literal { text, line }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{Token, tokens};

    fn words(text: &str) -> Vec<String> {
        fn collect(tokens: Vec<Token>, found: &mut Vec<String>) {
            for token in tokens {
                match token {
                    Token::Word { text, line } => found.push(format!("{text}:{line}")),
                    Token::Group { inner, .. } => collect(inner, found),
                    Token::Mark(_) | Token::Literal { .. } => {}
                }
            }
        }
        let mut found = Vec::new();
        collect(tokens(text).unwrap(), &mut found);
        found
    }

    #[test]
    fn comments_strings_characters_and_lifetimes_are_no_words() {
        let text = "one // no\n/* no /* no */ no */ two\n\
            \"no \\\" no\" r#\"no \" no\"# b\"no\" 'n' '\\'' b'\"' &'no three 1.5e3 4.four r#five";
        assert_eq!(words(text), ["one:1", "two:2", "three:3", "four:3", "five:3"]);
    }

    #[test]
    fn a_string_over_several_lines_counts_them() {
        assert_eq!(words("\"a\nb\" c"), ["c:2"]);
        assert_eq!(words("r\"a\nb\" c"), ["c:2"]);
    }

    #[test]
    fn brackets_that_do_not_match_are_an_error() {
        assert_eq!(tokens("fn a() {\n").unwrap_err(), "line 1: } is missing");
        assert_eq!(tokens("a\n)").unwrap_err(), "line 2: ) closes nothing");
    }
}
