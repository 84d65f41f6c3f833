//! The options of the CLI, and what becomes of each: ours has the same one, the CLI gets it as it is, or it is refused.
//!
//! The list is that of the pinned version's `--help` (`tests/fixtures/claude-cli/help.txt`; a test compares the two). An option
//! is refused if it would break what claudebox promises: a run's end is the end of everything it started, its output has the
//! form that was asked for, and its session is known before it begins.

use self::Takes::{Many, Nothing, One, Optional};
use self::Treatment::{Dropped, Ours, Passed, Picks, Refused};

/// How many values an option takes. The CLI ends a list of values at the next word that begins with a dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None.
    Nothing,
    /// One.
    One,
    /// One, or none.
    Optional,
    /// All up to the next option.
    Many,
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// An option of ours has this name and meaning.
    Ours,
    /// The CLI gets it.
    Passed,
    /// The CLI gets it, and lets a person choose the session.
    Picks,
    /// It asks for what is so anyway.
    Dropped,
    /// It cannot be had, for this reason.
    Refused(&'static str),
}

/// An option of the CLI.
#[derive(Debug, Clone, Copy)]
pub struct CliOption {
    /// All of its names.
    pub names: &'static [&'static str],
    /// Its values.
    pub takes: Takes,
    /// What becomes of it on a terminal.
    pub on_terminal: Treatment,
    /// What becomes of it beside a prompt.
    pub with_prompt: Treatment,
}

const fn both(names: &'static [&'static str], takes: Takes, treatment: Treatment) -> CliOption {
    CliOption { names, takes, on_terminal: treatment, with_prompt: treatment }
}

const fn differing(
    names: &'static [&'static str],
    takes: Takes,
    on_terminal: Treatment,
    with_prompt: Treatment,
) -> CliOption {
    CliOption { names, takes, on_terminal, with_prompt }
}

const NEEDS_TERMINAL: Treatment = Refused("it is for the interactive CLI: leave the prompt out");
const NEEDS_PROMPT: Treatment = Refused("it is for a prompt, and there is none");
const CLOUD: Treatment = Refused("it leaves the box for a session in the cloud");
const DESKTOP: Treatment = Refused("what it connects to is on your desktop, where a box does not reach");
const BACKGROUND: Treatment =
    Refused("a session in the background would end with the call: use the HTTP API's async runs, or another terminal");
const ONE_LINE: Treatment = Refused("give the text itself: --system-prompt \"$(cat FILE)\", or --append-system-prompt");

/// The options of the CLI.
pub const OPTIONS: &[CliOption] = &[
    both(&["--add-dir"], Many, Passed),
    both(&["--agent"], One, Passed),
    both(&["--agents"], One, Passed),
    both(&["--allow-dangerously-skip-permissions"], Nothing, Dropped),
    both(&["--allowedTools", "--allowed-tools"], Many, Passed),
    both(&["--append-system-prompt"], One, Ours),
    both(&["--autocompact"], One, Passed),
    differing(&["--ax-screen-reader"], Nothing, Passed, NEEDS_TERMINAL),
    both(&["--bg", "--background"], Nothing, BACKGROUND),
    both(&["--bare"], Nothing, Passed),
    both(&["--betas"], Many, Passed),
    both(&["--brief"], Nothing, Passed),
    both(&["--chrome"], Nothing, DESKTOP),
    both(&["--cloud"], Optional, CLOUD),
    both(&["-c", "--continue"], Nothing, Ours),
    both(&["--dangerously-skip-permissions"], Nothing, Dropped),
    both(&["-d", "--debug"], Optional, Passed),
    both(&["--debug-file"], One, Passed),
    both(&["--desktop"], Nothing, DESKTOP),
    both(&["--disable-slash-commands"], Nothing, Passed),
    both(&["--disallowedTools", "--disallowed-tools"], Many, Passed),
    both(&["--effort"], One, Ours),
    both(&["--environment"], One, CLOUD),
    both(&["--exclude-dynamic-system-prompt-sections"], Nothing, Passed),
    both(&["--fallback-model"], One, Passed),
    both(&["--file"], Many, CLOUD),
    both(&["--fork-session"], Nothing, Ours),
    differing(&["--forward-subagent-text"], Nothing, NEEDS_PROMPT, Passed),
    differing(&["--from-pr"], Optional, Picks, NEEDS_TERMINAL),
    both(&["-h", "--help"], Nothing, Ours),
    both(&["--ide"], Nothing, DESKTOP),
    differing(&["--include-hook-events"], Nothing, NEEDS_PROMPT, Passed),
    both(&["--include-partial-messages"], Nothing, Ours),
    both(
        &["--input-format"],
        One,
        Refused("a prompt comes as words or on standard input, as text; several turns are several prompts"),
    ),
    both(&["--json-schema"], One, Ours),
    both(&["--max-budget-usd"], One, Ours),
    both(&["--mcp-config"], Many, Passed),
    both(&["--model"], One, Ours),
    both(&["-n", "--name"], One, Passed),
    both(&["--no-chrome"], Nothing, Passed),
    differing(&["--no-session-persistence"], Nothing, NEEDS_PROMPT, Passed),
    both(&["--output-format"], One, Ours),
    both(&["--permission-mode"], One, Passed),
    differing(&["--permission-prompts"], One, NEEDS_PROMPT, Passed),
    both(&["--plugin-dir"], One, Passed),
    both(&["--plugin-url"], One, Passed),
    both(&["-p", "--print"], Nothing, Ours),
    differing(
        &["--prompt-suggestions"],
        Optional,
        Passed,
        Refused("a suggestion comes after the answer, which is the end of a run"),
    ),
    differing(&["--remote-control"], Optional, Passed, NEEDS_TERMINAL),
    differing(&["--remote-control-session-name-prefix"], One, Passed, NEEDS_TERMINAL),
    both(
        &["--replay-user-messages"],
        Nothing,
        Refused("it acknowledges messages of --input-format stream-json, which a prompt is not"),
    ),
    both(&["--restricted"], Nothing, Passed),
    both(&["-r", "--resume"], Optional, Ours),
    both(&["--safe-mode"], Nothing, Passed),
    both(
        &["--session-id"],
        One,
        Refused("claudebox chooses the id, and the answer names it (sessionId); --resume ID goes on with it"),
    ),
    both(&["--setting-sources"], One, Passed),
    both(&["--settings"], One, Ours),
    both(&["--strict-mcp-config"], Nothing, Passed),
    both(&["--system-prompt"], One, Ours),
    both(&["--system-prompt-snapshot"], One, Passed),
    both(&["--teleport"], Optional, CLOUD),
    both(
        &["--tmux"],
        Nothing,
        Refused("its terminals would end with the call: claudebox in a second terminal is a session of its own"),
    ),
    both(&["--tools"], Many, Passed),
    differing(&["--verbose"], Nothing, Passed, Dropped),
    both(&["-v", "--version"], Nothing, Ours),
    both(&["-w", "--worktree"], Optional, Passed),
];

/// Options of the CLI that its help does not name.
pub const HIDDEN: &[CliOption] = &[
    both(&["--append-system-prompt-file", "--system-prompt-file"], One, ONE_LINE),
    both(&["--max-turns"], One, Ours),
    both(
        &["--permission-prompt-tool"],
        One,
        Refused("nobody is there to answer: set what is allowed with --allowedTools and --permission-mode"),
    ),
];

/// The option of this name.
pub fn find(name: &str) -> Option<&'static CliOption> {
    OPTIONS.iter().chain(HIDDEN).find(|option| option.names.contains(&name))
}

/// An option of the CLI on a command line.
#[derive(Debug, Clone)]
pub struct Given {
    option: &'static CliOption,
    name: String,
    /// The words of the command line, its name first.
    words: Vec<String>,
}

/// A command line, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Split {
    /// What claudebox reads itself.
    pub ours: Vec<String>,
    /// The rest.
    pub given: Vec<Given>,
}

/// What the CLI gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForCli {
    /// Its own options.
    pub passed: Vec<String>,
    /// What has it ask a person for the session, if anything does.
    pub picks: Option<Vec<String>>,
}

/// An option that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OptionError {
    #[error("{name} of the CLI cannot be used here: {why}")]
    Unusable { name: String, why: &'static str },
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{0} takes no value")]
    NoneTaken(String),
    #[error(
        "{0} needs the id of a session beside a prompt (an answer with --output-format json names it, sessionId); without an id it \
         opens a list, on a terminal and without a prompt"
    )]
    NobodyToPick(String),
}

/// Takes `args` apart. `takes_value`: whether an option that only claudebox has takes a value.
pub fn split(args: &[String], takes_value: impl Fn(&str) -> bool) -> Result<Split, OptionError> {
    let mut split = Split::default();
    let mut rest = args.iter().peekable();
    let is_value = |word: &&String| !word.starts_with('-');
    while let Some(word) = rest.next() {
        if word == "--" {
            split.ours.push(word.clone());
            split.ours.extend(rest.cloned());
            break;
        }
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word.as_str(), None),
        };
        let Some(option) = find(name) else {
            split.ours.push(word.clone());
            if attached.is_none() && takes_value(name) {
                split.ours.extend(rest.next().cloned());
            }
            continue;
        };
        let mut values: Vec<String> = attached.map(str::to_owned).into_iter().collect();
        match option.takes {
            Nothing if attached.is_some() => return Err(OptionError::NoneTaken(name.into())),
            // Any word: a system prompt may begin with a dash.
            One if attached.is_none() => values.extend(rest.next().cloned()),
            Optional if attached.is_none() => values.extend(rest.next_if(is_value).cloned()),
            Nothing | One | Optional => {}
            Many => values.extend(std::iter::from_fn(|| rest.next_if(is_value)).cloned()),
        }
        if values.is_empty() && matches!(option.takes, One | Many) {
            return Err(OptionError::NoValue(name.into()));
        }
        let is_ours = option.with_prompt == Ours && !(option.takes == Optional && values.is_empty());
        if is_ours {
            // With an equals sign, as a value may look like an option.
            let long = option.names.last().unwrap_or(&name);
            split.ours.push(values.pop().map_or_else(|| name.to_owned(), |value| format!("{long}={value}")));
        } else {
            let words = if attached.is_some() { vec![word.clone()] } else { [vec![name.to_owned()], values].concat() };
            split.given.push(Given { option, name: name.to_owned(), words });
        }
    }
    Ok(split)
}

/// What of `given` the CLI gets; `interactive`: on a terminal, without a prompt.
pub fn for_cli(given: Vec<Given>, interactive: bool) -> Result<ForCli, OptionError> {
    let mut result = ForCli::default();
    for Given { option, name, words } in given {
        match if interactive { option.on_terminal } else { option.with_prompt } {
            // The only one of ours that comes here: no id is given.
            Ours if interactive => result.picks = Some(vec!["--resume".into()]),
            Ours => return Err(OptionError::NobodyToPick(name)),
            Passed => result.passed.extend(words),
            Picks => result.picks = Some(words),
            Dropped => {}
            Refused(why) => return Err(OptionError::Unusable { name, why }),
        }
    }
    Ok(result)
}

/// The option of `passed` that took the last word of the command line, should it take any number of words: the prompt may have
/// been one of them.
pub fn greedy(passed: &[String]) -> Option<&str> {
    let name = passed.iter().rev().find(|word| word.starts_with('-'))?;
    let takes_more = find(name).is_some_and(|option| matches!(option.takes, Many | Optional));
    (takes_more && passed.last() != Some(name)).then_some(name.as_str())
}

/// Whether what is passed sets the permissions by itself: the CLI would prefer ours, which skip all of them.
pub fn sets_permissions(passed: &[String]) -> bool {
    passed
        .iter()
        .any(|word| word == "--permission-mode" || word.starts_with("--permission-mode=") || word == "--restricted")
}

#[cfg(test)]
mod tests;
