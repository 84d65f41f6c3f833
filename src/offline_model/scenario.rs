//! Prompt -> scenario: the word at the start of a prompt that says what is to happen.
//!
//! The words start with `offline:`, in any case, so that no sentence is taken for one; `offline: ` with a space is a
//! sentence.

use std::fmt::{self, Write as _};
use std::time::Duration;

const PREFIX: &str = "offline:";

/// The scenarios: how each is asked for, and what it does.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("offline:help", "lists these scenarios"),
    ("offline:echo TEXT", "answers with TEXT, however long"),
    ("offline:tool COMMAND", "runs COMMAND with the Bash tool, then quotes its output"),
    ("offline:background COMMAND", "the same with run_in_background, so the call returns at once"),
    (
        "offline:agent PROMPT",
        "hands PROMPT to a sub-agent, which may be one of these again, and answers with its report",
    ),
    ("offline:agents NUMBER PROMPT", "the same with up to 10 of them at once"),
    ("offline:wakeup SECONDS PROMPT", "schedules PROMPT as a turn of its own, with the ScheduleWakeup tool"),
    ("offline:think", "thinks before it answers"),
    ("offline:slow [SECONDS]", "streams one word at a time over that many seconds (10)"),
    ("offline:silent [SECONDS]", "starts a message and sends nothing for that many seconds (600)"),
    ("offline:error STATUS", "an API error: 400, 401, 403, 429, 500 or 529"),
    ("offline:error 429 [SECONDS]", "a usage limit that resets in that many seconds (3600)"),
    ("offline:cut", "cuts the connection in the middle of the answer, every time"),
    ("offline:cut-once", "cuts it the first time only"),
    ("offline:no-schema", "answers in plain text although a JSON schema was given"),
];

/// The most sub-agents a prompt may ask for.
const MOST_AGENTS: usize = 10;
/// The longest wait a prompt may ask for, seconds: a day.
const LONGEST_WAIT: u64 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scenario {
    /// No scenario was asked for: repeat what was said.
    Say,
    Echo(String),
    Tool {
        command: String,
        background: bool,
    },
    Agents {
        count: usize,
        prompt: String,
    },
    Wakeup {
        delay: Duration,
        prompt: String,
    },
    Think,
    Slow(Duration),
    Silent(Duration),
    Error(ApiFailure),
    Cut,
    CutOnce,
    NoSchema,
    Help,
    /// `offline:` and a word that is none of ours.
    Unknown(String),
    /// A known word with an argument that makes no sense.
    Misused(Misuse),
}

/// An error the Messages API can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiFailure {
    InvalidRequest,
    Authentication,
    Permission,
    /// How long until the limit is lifted.
    RateLimit {
        resets_in: Duration,
    },
    Internal,
    Overloaded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misuse {
    pub(super) scenario: &'static str,
    pub(super) given: String,
    pub(super) allowed: &'static str,
}

impl fmt::Display for Misuse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, given, allowed } = self;
        let given = super::text::capped(given, 100);
        write!(out, "offline:{scenario} takes {allowed}; it was given '{given}'.")
    }
}

impl Scenario {
    pub(super) fn of_prompt(prompt: &str) -> Self {
        let Some((name, argument)) = asked_for(prompt) else {
            return Self::Say;
        };
        match name.to_ascii_lowercase().as_str() {
            "help" => Self::Help,
            "echo" => Self::Echo(argument.to_owned()),
            "tool" => tool("tool", argument),
            "background" => tool("background", argument),
            "agent" => agents("agent", 1, argument),
            "agents" => {
                let (count, prompt) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
                agents("agents", count.parse().unwrap_or(0), prompt.trim())
            }
            "wakeup" => wakeup(argument),
            "think" => Self::Think,
            "slow" => seconds("slow", argument, 10).map_or_else(Self::Misused, Self::Slow),
            "silent" => seconds("silent", argument, 600).map_or_else(Self::Misused, Self::Silent),
            "error" => failure(argument).map_or_else(Self::Misused, Self::Error),
            "cut" => Self::Cut,
            "cut-once" => Self::CutOnce,
            "no-schema" => Self::NoSchema,
            _ => Self::Unknown(name.to_owned()),
        }
    }
}

impl Scenario {
    /// For the log, which must not hold what people typed.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Echo(_) => "echo",
            Self::Tool { background: false, .. } => "tool",
            Self::Tool { background: true, .. } => "background",
            Self::Agents { .. } => "agents",
            Self::Wakeup { .. } => "wakeup",
            Self::Think => "think",
            Self::Slow(_) => "slow",
            Self::Silent(_) => "silent",
            Self::Error(_) => "error",
            Self::Cut => "cut",
            Self::CutOnce => "cut-once",
            Self::NoSchema => "no-schema",
            Self::Help => "help",
            Self::Unknown(_) => "unknown",
            Self::Misused(_) => "misused",
        }
    }
}

/// The list of scenarios, a line each.
pub(super) fn list() -> String {
    let mut lines = String::new();
    for (usage, effect) in SCENARIOS {
        // Writing to a String cannot fail.
        let _ = write!(lines, "\n{usage} - {effect}");
    }
    lines
}

/// The word after `offline:` and the rest of the prompt.
fn asked_for(prompt: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = prompt.trim_start().split_at_checked(PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) || rest.starts_with(char::is_whitespace) || rest.is_empty() {
        return None;
    }
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some((name, argument.trim()))
}

fn tool(scenario: &'static str, command: &str) -> Scenario {
    if command.is_empty() {
        return Scenario::Misused(Misuse { scenario, given: String::new(), allowed: "a shell command" });
    }
    Scenario::Tool { command: command.to_owned(), background: scenario == "background" }
}

fn agents(scenario: &'static str, count: usize, prompt: &str) -> Scenario {
    if prompt.is_empty() || !(1..=MOST_AGENTS).contains(&count) {
        let allowed = if scenario == "agent" { "a prompt" } else { "a number from 1 to 10 and a prompt" };
        return Scenario::Misused(Misuse { scenario, given: prompt.to_owned(), allowed });
    }
    Scenario::Agents { count, prompt: prompt.to_owned() }
}

fn wakeup(argument: &str) -> Scenario {
    let (delay, prompt) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    match (seconds("wakeup", delay, 0), prompt.trim()) {
        (Ok(delay), prompt) if !argument.is_empty() && !prompt.is_empty() => {
            Scenario::Wakeup { delay, prompt: prompt.to_owned() }
        }
        _ => Scenario::Misused(Misuse {
            scenario: "wakeup",
            given: argument.to_owned(),
            allowed: "a number of seconds from 0 to 86400 and a prompt",
        }),
    }
}

fn seconds(scenario: &'static str, given: &str, default: u64) -> Result<Duration, Misuse> {
    if given.is_empty() {
        return Ok(Duration::from_secs(default));
    }
    let parsed = given.parse().ok().and_then(|value| Duration::try_from_secs_f64(value).ok());
    parsed.filter(|wait| *wait <= Duration::from_secs(LONGEST_WAIT)).ok_or_else(|| Misuse {
        scenario,
        given: given.to_owned(),
        allowed: "a number of seconds from 0 to 86400",
    })
}

fn failure(given: &str) -> Result<ApiFailure, Misuse> {
    let (status, rest) = given.split_once(char::is_whitespace).unwrap_or((given, ""));
    match (status, rest.trim()) {
        ("400", "") => Ok(ApiFailure::InvalidRequest),
        ("401", "") => Ok(ApiFailure::Authentication),
        ("403", "") => Ok(ApiFailure::Permission),
        ("429", rest) => {
            let resets_in = seconds("error 429", rest, 3600)?;
            Ok(ApiFailure::RateLimit { resets_in })
        }
        ("500", "") => Ok(ApiFailure::Internal),
        ("529", "") => Ok(ApiFailure::Overloaded),
        _ => Err(Misuse { scenario: "error", given: given.to_owned(), allowed: "one of 400, 401, 403, 429, 500, 529" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn bash(command: &str, background: bool) -> Scenario {
        Scenario::Tool { command: command.to_owned(), background }
    }

    #[rstest]
    #[case::no_word("hello", Scenario::Say)]
    #[case::empty("", Scenario::Say)]
    #[case::a_sentence("offline: that is what we were", Scenario::Say)]
    #[case::prefix_alone("offline:", Scenario::Say)]
    #[case::not_at_the_start("please offline:help", Scenario::Say)]
    #[case::inside_a_character("offlin\u{e9}\u{e9}", Scenario::Say)]
    #[case::help("offline:help", Scenario::Help)]
    #[case::any_case("OFFLINE:Tool echo Hi", bash("echo Hi", false))]
    #[case::many_lines("offline:tool cat <<X\na\nX", bash("cat <<X\na\nX", false))]
    #[case::background("offline:background sleep 9", bash("sleep 9", true))]
    #[case::echo("offline:echo  a b ", Scenario::Echo("a b".into()))]
    #[case::agent("offline:agent offline:tool ls", agents("agent", 1, "offline:tool ls"))]
    #[case::agents("offline:agents 3 look", agents("agents", 3, "look"))]
    #[case::wakeup("offline:wakeup 60 look again", Scenario::Wakeup { delay: Duration::from_mins(1), prompt: "look again".into() })]
    #[case::slow("offline:slow", Scenario::Slow(Duration::from_secs(10)))]
    #[case::slow_some("offline:slow 0.5", Scenario::Slow(Duration::from_millis(500)))]
    #[case::silent("offline:silent", Scenario::Silent(Duration::from_mins(10)))]
    #[case::error_400("offline:error 400", Scenario::Error(ApiFailure::InvalidRequest))]
    #[case::error_401("offline:error 401", Scenario::Error(ApiFailure::Authentication))]
    #[case::error_403("offline:error 403", Scenario::Error(ApiFailure::Permission))]
    #[case::error_429("offline:error 429", Scenario::Error(ApiFailure::RateLimit { resets_in: Duration::from_hours(1) }))]
    #[case::error_429_in("offline:error 429 60", Scenario::Error(ApiFailure::RateLimit { resets_in: Duration::from_mins(1) }))]
    #[case::error_500("offline:error 500", Scenario::Error(ApiFailure::Internal))]
    #[case::error_529("offline:error 529", Scenario::Error(ApiFailure::Overloaded))]
    #[case::cut("offline:cut", Scenario::Cut)]
    #[case::cut_once("offline:cut-once", Scenario::CutOnce)]
    #[case::no_schema("offline:no-schema hi", Scenario::NoSchema)]
    #[case::unknown("offline:xyz 1", Scenario::Unknown("xyz".into()))]
    fn a_word_at_the_start_picks_the_scenario(#[case] prompt: &str, #[case] scenario: Scenario) {
        assert_eq!(Scenario::of_prompt(prompt), scenario);
    }

    #[rstest]
    #[case("offline:tool", "offline:tool takes a shell command; it was given ''.")]
    #[case("offline:agent", "offline:agent takes a prompt; it was given ''.")]
    #[case("offline:agents 11 x", "offline:agents takes a number from 1 to 10 and a prompt; it was given 'x'.")]
    #[case(
        "offline:wakeup 60",
        "offline:wakeup takes a number of seconds from 0 to 86400 and a prompt; it was given '60'."
    )]
    #[case("offline:slow soon", "offline:slow takes a number of seconds from 0 to 86400; it was given 'soon'.")]
    #[case("offline:slow -1", "offline:slow takes a number of seconds from 0 to 86400; it was given '-1'.")]
    #[case("offline:silent nan", "offline:silent takes a number of seconds from 0 to 86400; it was given 'nan'.")]
    #[case("offline:error 404", "offline:error takes one of 400, 401, 403, 429, 500, 529; it was given '404'.")]
    #[case("offline:error 429 x", "offline:error 429 takes a number of seconds from 0 to 86400; it was given 'x'.")]
    fn a_wrong_argument_is_named_with_what_is_allowed(#[case] prompt: &str, #[case] message: &str) {
        let Scenario::Misused(misuse) = Scenario::of_prompt(prompt) else { panic!("{prompt} was accepted") };
        assert_eq!(misuse.to_string(), message);
    }

    #[test]
    fn every_listed_scenario_exists() {
        for (usage, _) in SCENARIOS {
            let prompt = usage.split(" [").next().unwrap_or(usage).replace("STATUS", "500").replace("NUMBER", "2");
            let prompt = prompt.replace("SECONDS", "60");
            let scenario = Scenario::of_prompt(&prompt);
            let listed = !matches!(scenario, Scenario::Say | Scenario::Unknown(_) | Scenario::Misused(_));
            assert!(listed, "{usage} is {scenario:?}");
        }
    }

    proptest! {
        #[test]
        fn any_prompt_has_a_scenario(prompt in "(offline:)?.{0,40}") {
            let scenario = Scenario::of_prompt(&prompt);
            if !prompt.trim_start().to_ascii_lowercase().starts_with(PREFIX) {
                prop_assert_eq!(scenario, Scenario::Say);
            }
        }

        #[test]
        fn no_wait_is_longer_than_a_day(number in any::<f64>()) {
            if let Scenario::Slow(wait) = Scenario::of_prompt(&format!("offline:slow {number}")) {
                prop_assert!(wait <= Duration::from_secs(LONGEST_WAIT));
            }
        }
    }
}
