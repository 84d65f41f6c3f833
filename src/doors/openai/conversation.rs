//! Messages -> what the CLI is told.
//!
//! A client of this protocol sends the whole conversation each time. The CLI keeps conversations itself, so what was
//! said before is either in the session that a run resumes, or is told again before the newest message.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::material::Piece;
use super::message::{Message, Part, Role, invalid};
use crate::claude::envelope::hex;
use crate::claude::limits::LONGEST_PROMPT_BYTES;
use crate::doors::web::problem::Problem;

/// What is asked where a conversation ends with the assistant's own words.
const GO_ON: &str = "Go on with your last message from exactly where it ends, and do not repeat any of it.";
const NO_TEXT: &str = "(This message has no text.)";

/// A conversation, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    /// What system and developer messages say.
    pub(super) system: Option<String>,
    /// Everything up to the assistant's last message.
    pub(super) history: Vec<Message>,
    /// What is new: everything after that.
    pub(super) newest: Vec<Message>,
}

/// Makes the last word the user's, where there is none of theirs: the last system message is what is asked, or the
/// answer that is there is to be gone on with.
fn ask_for_an_answer(newest: &mut Vec<Message>, answered: bool, field: &str) {
    let said = |message: &Message| says_something(std::slice::from_ref(message));
    match newest.iter().rposition(said) {
        Some(last) => newest[last].role = Role::User,
        None if answered => newest.push(Message::text(Role::User, GO_ON, field)),
        None => {}
    }
}

fn says_something(messages: &[Message]) -> bool {
    messages.iter().flat_map(|message| &message.parts).any(|part| match part {
        Part::Text(text) => !text.trim().is_empty(),
        Part::Image { .. } | Part::File { .. } | Part::Block(_) => true,
    })
}

/// What the CLI is told: blocks, and the prompt after them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CliInput {
    pub(super) attachments: Vec<Value>,
    pub(super) prompt: String,
}

impl Conversation {
    /// Takes `messages` apart; `field` is what they are called in an error.
    pub(super) fn new(messages: Vec<Message>, field: &str) -> Result<Self, Problem> {
        let last_answer = messages.iter().rposition(|message| message.role == Role::Assistant);
        let mut history = messages;
        let mut newest = history.split_off(last_answer.map_or(0, |index| index + 1));
        let answered = last_answer.is_some() && says_something(&history);
        if !newest.iter().any(|message| message.role != Role::System && says_something(std::slice::from_ref(message))) {
            ask_for_an_answer(&mut newest, answered, field);
        }
        let (mut system, newest): (Vec<_>, Vec<_>) =
            newest.into_iter().partition(|message| message.role == Role::System);
        let (earlier, history): (Vec<_>, Vec<_>) =
            history.into_iter().partition(|message| message.role == Role::System);
        system.splice(..0, earlier);
        let texts = system.iter().flat_map(|message| &message.parts).map(|part| match part {
            Part::Text(text) => Ok(text.as_str()),
            Part::Image { .. } | Part::File { .. } | Part::Block(_) => {
                Err(invalid(field, "a system or developer message has text only; put images into a user message"))
            }
        });
        let system = texts.collect::<Result<Vec<_>, _>>()?.join("\n\n");
        if system.len() > LONGEST_PROMPT_BYTES {
            let why = format!("the system messages have {} bytes, {LONGEST_PROMPT_BYTES} are allowed", system.len());
            return Err(invalid(field, &why));
        }
        if !says_something(&newest) {
            return Err(invalid(field, "no message says anything at the end: there is nothing to answer"));
        }
        Ok(Self { system: (!system.trim().is_empty()).then_some(system), history, newest })
    }

    /// What is told with these pieces of the history, or without it, and those of the newest messages.
    pub(super) fn tell(&self, history: Option<&[Vec<Piece>]>, newest: &[Vec<Piece>]) -> CliInput {
        let mut blocks = Blocks::default();
        if let Some(history) = history.filter(|history| !history.is_empty()) {
            blocks.text("The conversation so far, oldest message first:");
            for (message, pieces) in self.history.iter().zip(history) {
                let role = match message.role {
                    Role::Assistant => "assistant",
                    Role::Tool => "tool",
                    Role::User | Role::System => "user",
                };
                let name = message.name.as_ref().map(|name| format!(" name={name:?}")).unwrap_or_default();
                blocks.text(&format!("<{role}{name}>"));
                blocks.pieces(pieces);
                blocks.text(&format!("</{role}>"));
            }
            blocks.text("Go on with it: answer the message that follows, without repeating what was said.");
            blocks.close();
            blocks.newest = blocks.done.len();
        }
        for (message, pieces) in self.newest.iter().zip(newest) {
            if let Some(name) = &message.name {
                blocks.begin(&format!("{name}: "));
            }
            blocks.pieces(pieces);
            blocks.paragraph();
        }
        blocks.told()
    }
}

/// Content blocks in the making; texts that follow each other are one block.
#[derive(Default)]
struct Blocks {
    done: Vec<Value>,
    open: String,
    /// Whether the open text ends in the middle of a line.
    begun: bool,
    /// Where the blocks of the newest messages begin.
    newest: usize,
}

impl Blocks {
    /// Begins a line that the next text goes on with.
    fn begin(&mut self, start: &str) {
        self.text(start);
        self.begun = true;
    }

    fn text(&mut self, text: &str) {
        if !std::mem::take(&mut self.begun) && !self.open.is_empty() && !self.open.ends_with('\n') {
            self.open.push('\n');
        }
        self.open.push_str(text);
    }

    fn paragraph(&mut self) {
        if !self.open.is_empty() {
            self.open.push_str("\n\n");
        }
    }

    fn pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text(text),
                Piece::Block(block) => {
                    self.close();
                    self.done.push(block.clone());
                }
            }
        }
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.open);
        let text = text.trim();
        if !text.is_empty() {
            self.done.push(json!({"type": "text", "text": text}));
        }
    }

    fn told(mut self) -> CliInput {
        self.close();
        // The prompt stands last: an image that came after the newest text stands before it, where models like it better
        // anyway.
        let at = (self.newest..self.done.len()).rfind(|&index| self.done[index]["type"] == "text");
        let prompt = at.map(|at| self.done.remove(at));
        let text = prompt.as_ref().and_then(|prompt| prompt["text"].as_str());
        let prompt = text.unwrap_or(NO_TEXT).to_owned();
        CliInput { attachments: self.done, prompt }
    }
}

/// Tells conversations apart that begin the same way.
#[derive(Debug, Clone)]
pub(super) struct Digest(Sha256);

impl Digest {
    /// Of a conversation in `scope` (a workspace, a requester) with this system prompt.
    pub(super) fn new(scope: &[&str], system: Option<&str>) -> Self {
        let mut digest = Self(Sha256::new());
        digest.add(&json!([scope, system]));
        digest
    }

    /// With these messages.
    pub(super) fn messages<'message>(mut self, messages: impl IntoIterator<Item = &'message Message>) -> Self {
        for message in messages {
            let parts = message.parts.iter().map(|part| match part {
                Part::Text(text) => json!(text.trim()),
                Part::Image { url, .. } => json!({"image": url}),
                Part::File { name, data, .. } => json!({"file": name, "data": data}),
                Part::Block(block) => block.clone(),
            });
            let parts: Vec<Value> = parts.collect();
            let message = match &message.name {
                Some(name) => json!([message.role as u8, parts, name]),
                None => json!([message.role as u8, parts]),
            };
            self.add(&message);
        }
        self
    }

    /// With this answer.
    pub(super) fn answered(self, text: &str) -> Self {
        self.messages([&Message::text(Role::Assistant, text, "")])
    }

    /// With something else that was asked.
    pub(super) fn with(mut self, value: &Value) -> Self {
        self.add(value);
        self
    }

    /// As text.
    pub(super) fn text(self) -> String {
        hex(&self.0.finalize())
    }

    fn add(&mut self, value: &Value) {
        let text = value.to_string();
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(role: Role, text: &str) -> Message {
        Message::text(role, text, "m")
    }

    fn pieces(messages: &[Message]) -> Vec<Vec<Piece>> {
        let piece = |part: &Part| match part {
            Part::Text(text) => Piece::Text(text.clone()),
            Part::Image { url, .. } => Piece::Block(json!({"type": "image", "source": url})),
            Part::File { .. } | Part::Block(_) => unreachable!(),
        };
        messages.iter().map(|message| message.parts.iter().map(piece).collect()).collect()
    }

    fn told(messages: Vec<Message>) -> CliInput {
        let conversation = Conversation::new(messages, "messages").unwrap();
        let (history, newest) = (pieces(&conversation.history), pieces(&conversation.newest));
        conversation.tell(Some(&history), &newest)
    }

    #[test]
    fn one_message_is_the_prompt_and_nothing_else() {
        let told = told(vec![say(Role::System, "be brief"), say(Role::User, "hi")]);
        assert_eq!(told, CliInput { attachments: vec![], prompt: "hi".into() });
    }

    #[test]
    fn a_conversation_is_told_before_its_newest_message() {
        let messages = vec![
            say(Role::User, "one"),
            say(Role::Assistant, "two"),
            say(Role::System, "late"),
            say(Role::User, "three"),
            say(Role::User, "four"),
        ];
        let conversation = Conversation::new(messages.clone(), "messages").unwrap();
        assert_eq!(conversation.system.as_deref(), Some("late"));
        let told = told(messages);
        assert_eq!(told.prompt, "three\n\nfour");
        assert_eq!(
            told.attachments,
            [json!({"type": "text", "text": "The conversation so far, oldest message first:\n<user>\none\n</user>\n\
                <assistant>\ntwo\n</assistant>\nGo on with it: answer the message that follows, without repeating what \
                was said."})]
        );
        assert_eq!(conversation.tell(None, &pieces(&conversation.newest)).attachments, Vec::<Value>::new());
    }

    #[test]
    fn images_stand_where_they_stood_and_the_prompt_last() {
        let image = |url: &str| Part::Image { url: url.into(), at: "m".into() };
        let text = |text: &str| Part::Text(text.into());
        let ask = |parts: Vec<Part>| told(vec![Message { role: Role::User, name: None, parts, at: "m".into() }]);
        let kinds = |told: &CliInput| -> Vec<String> {
            told.attachments.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
        };
        let told = ask(vec![text("compare"), image("a"), text("with"), image("b"), text("now")]);
        assert_eq!((kinds(&told).join(" ").as_str(), told.prompt.as_str()), ("text image text image", "now"));
        let told = ask(vec![text("what is this"), image("a")]);
        assert_eq!((kinds(&told).join(" ").as_str(), told.prompt.as_str()), ("image", "what is this"));
        let told = ask(vec![image("a")]);
        assert_eq!((kinds(&told).join(" ").as_str(), told.prompt.as_str()), ("image", NO_TEXT));
    }

    #[test]
    fn there_has_to_be_something_to_answer() {
        for messages in [
            vec![],
            vec![say(Role::System, " ")],
            vec![say(Role::User, " ")],
            vec![say(Role::User, " "), say(Role::Assistant, "")],
        ] {
            assert_eq!(Conversation::new(messages, "messages").unwrap_err().code(), "invalid_field");
        }
        let long = say(Role::System, &"x".repeat(LONGEST_PROMPT_BYTES + 1));
        assert!(Conversation::new(vec![long, say(Role::User, "a")], "messages").is_err());
    }

    #[test]
    fn the_last_word_need_not_be_the_users() {
        let take = |messages: Vec<Message>| Conversation::new(messages, "messages").unwrap();
        let asked = |conversation: &Conversation| conversation.tell(None, &pieces(&conversation.newest)).prompt;
        let alone = take(vec![say(Role::System, "be brief"), say(Role::System, "a haiku about ports")]);
        assert_eq!((alone.system.as_deref(), asked(&alone).as_str()), (Some("be brief"), "a haiku about ports"));
        let cut = take(vec![say(Role::System, "s"), say(Role::User, "q"), say(Role::Assistant, "The sun")]);
        assert_eq!((cut.system.as_deref(), asked(&cut).as_str(), cut.history.len()), (Some("s"), GO_ON, 2));
        let nudged = take(vec![
            say(Role::System, "s"),
            say(Role::User, "q"),
            say(Role::Assistant, "a"),
            say(Role::System, "[Continue]"),
        ]);
        assert_eq!((nudged.system.as_deref(), asked(&nudged).as_str()), (Some("s"), "[Continue]"));
        // A user that says nothing asks nothing: what instructions without an input become.
        let silent = take(vec![say(Role::System, "be brief"), say(Role::System, "a haiku"), say(Role::User, "")]);
        assert_eq!((silent.system.as_deref(), asked(&silent).as_str()), (Some("be brief"), "a haiku"));
        // A user's word is what is asked, wherever the system's stands.
        let usual = take(vec![say(Role::User, "q"), say(Role::System, "s")]);
        assert_eq!((usual.system.as_deref(), asked(&usual).as_str()), (Some("s"), "q"));
    }

    #[test]
    fn participants_are_told_by_their_names() {
        let named = |name: &str, text: &str| Message { name: Some(name.into()), ..say(Role::User, text) };
        let told = told(vec![named("alice", "red"), named("bob", "blue"), named("alice", "what did bob say?")]);
        assert_eq!(told.prompt, "alice: red\n\nbob: blue\n\nalice: what did bob say?");
        let conversation =
            Conversation::new(vec![named("alice", "red"), say(Role::Assistant, "ok"), say(Role::User, "x")], "m")
                .unwrap();
        let told = conversation.tell(Some(&pieces(&conversation.history)), &pieces(&conversation.newest));
        assert!(told.attachments[0]["text"].as_str().unwrap().contains("<user name=\"alice\">\nred\n</user>"));
        let digest = |message: Message| Digest::new(&[], None).messages([&message]).text();
        assert_ne!(digest(named("alice", "red")), digest(named("bob", "red")));
    }

    #[test]
    fn a_conversation_is_known_by_its_beginning() {
        let new = || Digest::new(&["/w", "me"], Some("s"));
        let before = [say(Role::User, "one"), say(Role::Assistant, "two\n")];
        // The client sends back what it was answered, perhaps trimmed.
        assert_eq!(new().messages(&before).text(), new().messages(&before[..1]).answered("two").text());
        let others = [
            new().messages(&before[..1]).text(),
            new().messages(&before).messages(&before).text(),
            Digest::new(&["/w", "you"], Some("s")).messages(&before).text(),
            Digest::new(&["/w", "me"], None).messages(&before).text(),
            new().messages([&say(Role::User, "onetwo"), &say(Role::Assistant, "")]).text(),
        ];
        for other in others {
            assert_ne!(other, new().messages(&before).text());
        }
    }
}
