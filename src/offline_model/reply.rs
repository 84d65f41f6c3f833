//! Request and scenario -> what to answer: the blocks of a message and how they come, or an API error.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{MessagesRequest, Notice, SCHEMA_TOOL, ToolResult, Wanted};
use super::scenario::{ApiFailure, Scenario, list};
use super::schema::instance;
use super::text::{LABEL, capped};

/// How much of the prompt an answer repeats, characters: a prompt of megabytes gets a small answer.
const PROMPT_SHOWN: usize = 200;
/// How much of a tool's output an answer quotes, characters.
const OUTPUT_SHOWN: usize = 2000;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Message(Message),
    Error(ApiFailure),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) blocks: Vec<Block>,
    pub(super) pace: Pace,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Thinking(String),
    Text(String),
    ToolUse { name: &'static str, input: Value },
}

/// How a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    /// One word at a time over this long.
    WordByWord(Duration),
    /// The start, then nothing for this long, then the rest.
    SilentFor(Duration),
    /// The first half; then the connection is cut.
    CutHalfway,
}

impl Message {
    pub(super) fn stop_reason(&self) -> &'static str {
        match self.blocks.last() {
            Some(Block::ToolUse { .. }) => "tool_use",
            _ => "end_turn",
        }
    }
}

/// The answer to `request`; `cut` says whether a [`Scenario::CutOnce`] is to be cut now.
pub(super) fn reply(request: &MessagesRequest, scenario: &Scenario, cut: bool) -> Reply {
    if let Scenario::Error(failure) = scenario {
        return Reply::Error(*failure);
    }
    let mut message = if !request.outcomes.is_empty() {
        at_once(vec![text(after_tools(&request.outcomes))])
    } else if let (true, Some(notice)) = (request.prompt.is_empty() || request.nudged, request.notices.last()) {
        at_once(vec![text(reported(request.notices.len(), notice))])
    } else {
        first_turn(request, scenario, cut)
    };
    let asks_for_a_tool = message.stop_reason() == "tool_use";
    let delivered = request.outcomes.iter().any(|outcome| outcome.tool == SCHEMA_TOOL);
    if !asks_for_a_tool && !delivered && *scenario != Scenario::NoSchema {
        give_the_form(&mut message, request);
    }
    Reply::Message(message)
}

fn first_turn(request: &MessagesRequest, scenario: &Scenario, cut: bool) -> Message {
    match scenario {
        Scenario::Say | Scenario::NoSchema | Scenario::Error(_) => at_once(vec![text(said(request))]),
        Scenario::Echo(words) => at_once(vec![text(words)]),
        Scenario::Tool { command, background } => at_once(bash(request, command, *background)),
        Scenario::Agents { count, prompt } => at_once(agents(request, *count, prompt)),
        Scenario::Wakeup { delay, prompt } => at_once(wakeup(request, *delay, prompt)),
        Scenario::Think => {
            let thought = format!("{LABEL} Thinking is made up too: there is no model here.");
            at_once(vec![Block::Thinking(thought), text("Thought about it. Nothing came of it.")])
        }
        Scenario::Slow(whole) => Message { blocks: vec![text(counting(*whole))], pace: Pace::WordByWord(*whole) },
        Scenario::Silent(silence) => Message {
            blocks: vec![text(format!("Sent nothing for {} seconds, as asked.", silence.as_secs_f64()))],
            pace: Pace::SilentFor(*silence),
        },
        Scenario::Cut => to_be_cut("The connection is cut in the middle of this answer, every time it is asked for."),
        Scenario::CutOnce if cut => to_be_cut("The connection is cut in the middle of this answer, this once only."),
        Scenario::CutOnce => at_once(vec![text("The answer after the cut: whole this time.")]),
        Scenario::Help => at_once(vec![text(format!("Start a prompt with one of these:{}", list()))]),
        Scenario::Unknown(name) => {
            let name = capped(name, PROMPT_SHOWN);
            at_once(vec![text(format!("There is no scenario 'offline:{name}'. There are:{}", list()))])
        }
        Scenario::Misused(misuse) => at_once(vec![text(misuse.to_string())]),
    }
}

fn at_once(blocks: Vec<Block>) -> Message {
    Message { blocks, pace: Pace::AtOnce }
}

fn to_be_cut(words: &str) -> Message {
    Message { blocks: vec![text(words)], pace: Pace::CutHalfway }
}

fn text(words: impl AsRef<str>) -> Block {
    Block::Text(format!("{LABEL} {}", words.as_ref()))
}

fn said(request: &MessagesRequest) -> String {
    let images = match request.images {
        0 => String::new(),
        count => format!(" Images received: {count}."),
    };
    let said = match capped(&request.prompt, PROMPT_SHOWN) {
        nothing if nothing.is_empty() => "Nothing was said.".to_owned(),
        prompt => format!("You said: {prompt}"),
    };
    format!("No account is in use; this answer is made up by claudebox itself.{images} {said}")
}

/// The call of the Bash tool, or why there is none.
fn bash(request: &MessagesRequest, command: &str, background: bool) -> Vec<Block> {
    if !request.offers_bash {
        return vec![text("The Bash tool is not offered in this session, so the command was not run.")];
    }
    let description = format!("{LABEL} Runs the command in the prompt");
    let mut input = json!({ "command": command, "description": description });
    if background {
        input["run_in_background"] = Value::Bool(true);
    }
    let call = Block::ToolUse { name: "Bash", input };
    vec![text("Running the command with the Bash tool."), call]
}

/// The calls that start sub-agents, or why there are none.
fn agents(request: &MessagesRequest, count: usize, prompt: &str) -> Vec<Block> {
    let Some(name) = request.agent_tool else {
        return vec![text("Sub-agents are not offered in this session, so none was started.")];
    };
    let call = |number| Block::ToolUse {
        name,
        input: json!({
            "description": format!("offline agent {number}"), "prompt": prompt, "subagent_type": "general-purpose",
        }),
    };
    std::iter::once(text("Handing the prompt over.")).chain((1..=count).map(call)).collect()
}

fn wakeup(request: &MessagesRequest, delay: Duration, prompt: &str) -> Vec<Block> {
    if !request.offers_wakeups {
        return vec![text("Wake-ups are not offered in this session, so none was scheduled.")];
    }
    let input = json!({"delaySeconds": delay.as_secs(), "reason": format!("{LABEL} As asked"), "prompt": prompt});
    vec![text("Scheduling a wake-up."), Block::ToolUse { name: "ScheduleWakeup", input }]
}

/// What a turn says that the CLI began because background work ended.
fn reported(count: usize, notice: &Notice) -> String {
    let report = capped(&notice.report, OUTPUT_SHOWN);
    format!("Background work that has ended: {count}. The last: {}. {report}", notice.summary).trim_end().to_owned()
}

fn after_tools(outcomes: &[ToolResult]) -> String {
    let quoted = outcomes.iter().map(|outcome| {
        let ToolResult { tool, text, failed } = outcome;
        let tool = if tool.is_empty() { "A" } else { tool };
        let verb = if *failed { "tool failed" } else { "tool answered" };
        // What follows in brackets is for the model alone, as it says itself.
        let text = if tool == "Agent" { text.split(" (").next().unwrap_or_default() } else { text };
        format!("The {tool} {verb}: {}", capped(text, OUTPUT_SHOWN))
    });
    quoted.collect::<Vec<_>>().join("\n")
}

/// At least twenty words, two a second when it takes longer, so that the stream is never quiet for long.
fn counting(whole: Duration) -> String {
    let words = whole.as_secs().saturating_mul(2).clamp(20, 2000);
    let count: Vec<String> = (1..=words).map(|word| word.to_string()).collect();
    format!("Counting slowly, for {} seconds: {}", whole.as_secs_f64(), count.join(" "))
}

/// Makes a finished answer the instance of the schema that was asked for.
fn give_the_form(message: &mut Message, request: &MessagesRequest) {
    match &request.wanted {
        None => {}
        Some(Wanted::ToolCall(schema)) => {
            // The input of a tool is always an object.
            let input = Some(instance(schema)).filter(Value::is_object).unwrap_or_else(|| json!({}));
            if request.nudged {
                message.blocks.clear();
                message.pace = Pace::AtOnce;
            }
            message.blocks.push(Block::ToolUse { name: SCHEMA_TOOL, input });
        }
        Some(Wanted::JsonText(schema)) => {
            message.blocks.retain(|block| !matches!(block, Block::Text(_)));
            message.blocks.push(Block::Text(instance(schema).to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
