//! What the arguments of `init` and `run` ask for: a prompt, the interactive CLI, or one of the CLI's own commands.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::misread::Misread;
use super::run_args::RunArgs;
use crate::claude::cli_options::{self, Given, Split};

/// The CLI's own commands, which reach it as they are.
pub const CLI_COMMANDS: [&str; 5] = ["doctor", "auth", "mcp", "setup-token", "update"];
const CLI_FLAGS: [&str; 2] = ["--version", "-v"];

const CLI_OPTIONS: &str = "The CLI's own options reach it as they are (--permission-mode, --allowedTools, --mcp-config, --add-dir and \
    so on), and so does -r without an id on a terminal. docs/prompts.md lists those that cannot be used.";

/// `claudebox run`, parsed on its own.
#[derive(Debug, Parser)]
#[command(name = "claudebox run", about = "Answer one prompt and exit", max_term_width = 110, after_help = CLI_OPTIONS)]
struct RunCommand {
    #[command(flatten)]
    args: RunArgs,
}

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// The CLI on this terminal.
    Interactive(RunArgs),
    /// One prompt, answered.
    Prompt(RunArgs),
    /// The CLI with these arguments, untouched.
    Passthrough(Vec<OsString>),
}

/// Reads `args`.
pub fn classify(args: &[OsString], stdin_is_terminal: bool) -> Result<Intent, Misread> {
    let first = args.first().and_then(|arg| arg.to_str()).unwrap_or_default();
    if CLI_COMMANDS.contains(&first) || CLI_FLAGS.contains(&first) {
        // It is what tells the CLI's from ours.
        let own = |arg: &&OsString| first != "doctor" || *arg != "--cli";
        return Ok(Intent::Passthrough(args.iter().filter(own).cloned().collect()));
    }
    // The interactive CLI: PID 1 has no use for the pages of an argument parser, which it would keep for good.
    let (mut run, given) = if args.is_empty() { Default::default() } else { parse_run(args)? };
    if let ([word], false) = (run.words.as_slice(), run.print) {
        refuse_typo(word, CLI_COMMANDS)?;
    }
    let interactive = run.words.is_empty() && !run.print && stdin_is_terminal;
    let for_cli = cli_options::for_cli(given, interactive)?;
    run.options.cli = for_cli.passed;
    run.options.picks = for_cli.picks;
    if run.options.fork_session && !run.goes_on && run.options.resume.is_none() && run.options.picks.is_none() {
        return Err(Misread::NothingToFork);
    }
    Ok(if interactive { Intent::Interactive(run) } else { Intent::Prompt(run) })
}

/// Reads what is ours, and finds what is the CLI's.
fn parse_run(args: &[OsString]) -> Result<(RunArgs, Vec<Given>), Misread> {
    let text = |arg: &OsString| {
        arg.to_str().map(str::to_owned).ok_or_else(|| Misread::NotText(arg.to_string_lossy().into_owned()))
    };
    let args: Vec<String> = args.iter().map(text).collect::<Result<_, _>>()?;
    let command = RunCommand::command();
    let takes_value = |name: &str| {
        let long = name.strip_prefix("--");
        let option = command.get_opts().find(|option| long.is_some() && option.get_long() == long);
        option.is_some_and(|option| option.get_action().takes_values())
    };
    let Split { ours, given } = cli_options::split(&args, takes_value)?;
    let command_line = std::iter::once("claudebox run".to_owned()).chain(ours);
    Ok((RunCommand::try_parse_from(command_line)?.args, given))
}

/// Refuses a word that is one edit (an insertion, a deletion, a change or a swap) away from a command.
pub(super) fn refuse_typo<'name>(word: &str, commands: impl IntoIterator<Item = &'name str>) -> Result<(), Misread> {
    match commands.into_iter().find(|command| strsim::osa_distance(word, command) == 1) {
        Some(command) => Err(Misread::Typo { word: word.into(), command: command.into() }),
        None => Ok(()),
    }
}

/// Whether `args`, the first of which is no role, start a prompt rather than a flag of claudebox itself.
pub(super) fn is_prompt(args: &[OsString], roles: &[String]) -> bool {
    let own_flags = ["-h", "--help", "-V", "--version", "help"];
    args.first()
        .and_then(|arg| arg.to_str())
        .is_some_and(|first| !own_flags.contains(&first) && !roles.iter().any(|role| role == first))
}

/// Whether `init`'s own help is asked for: after `--` everything belongs to the run.
pub(super) fn wants_help(args: &[OsString]) -> bool {
    args.first().is_some_and(|first| first == "-h" || first == "--help")
}

/// Whether `args` have `init` do what needs no box around it: check a file of jobs, rather than ask Claude to, check an
/// audit log, or look after the versions of the CLI.
pub(super) fn needs_no_box(args: &[OsString]) -> bool {
    let Some((first, rest)) = args.split_first() else { return false };
    let words: Vec<&str> = after_separator(rest).iter().map(|word| word.to_str().unwrap_or_default()).collect();
    first == "init"
        && matches!(
            words[..],
            ["cron", "check", ..]
                | ["audit", "verify", _]
                | ["cli", "install" | "list"]
                | ["cli", "install" | "use" | "remove", _]
        )
}

/// Whether `args` have `init` check the box rather than run the CLI's `doctor`, whose warnings are not true in one; and
/// whether as JSON. The CLI's is `doctor --cli`.
pub(super) fn asks_for_doctor(args: &[OsString]) -> Option<bool> {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    match words[..] {
        ["doctor"] => Some(false),
        ["doctor", "--json"] => Some(true),
        _ => None,
    }
}

/// `init`'s arguments without the separator that the image's entrypoint ends with.
pub(super) fn after_separator(args: &[OsString]) -> &[OsString] {
    args.strip_prefix(&[OsString::from("--")]).unwrap_or(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    fn prompt_of(words: &[&str]) -> String {
        match classify(&args(words), true).unwrap() {
            Intent::Prompt(run) => run.prompt_words(),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case(&["--version"])]
    #[case(&["-v"])]
    #[case(&["doctor"])]
    #[case(&["mcp", "add", "x", "--", "npx", "-y"])]
    #[case(&["setup-token"])]
    fn the_clis_own_commands_reach_it_untouched(#[case] words: &[&str]) {
        assert_eq!(classify(&args(words), true).unwrap(), Intent::Passthrough(args(words)));
    }

    #[test]
    fn the_clis_doctor_has_a_name_of_its_own() {
        assert_eq!(classify(&args(&["doctor", "--cli"]), true).unwrap(), Intent::Passthrough(args(&["doctor"])));
        for (words, ours) in [
            (["doctor"].as_slice(), Some(false)),
            (&["doctor", "--json"], Some(true)),
            (&["doctor", "--cli"], None),
            (&["the", "doctor"], None),
        ] {
            assert_eq!(asks_for_doctor(&args(words)), ours, "{words:?}");
        }
    }

    #[rstest]
    #[case(&["explain this"], "explain this")]
    #[case(&["explain", "this"], "explain this")]
    #[case(&["hello"], "hello")]
    #[case(&["-p", "dcotor"], "dcotor")]
    #[case(&["--model", "opus", "hi", "--effort", "low"], "hi")]
    #[case(&["--", "--version"], "--version")]
    #[case(&["the doctor"], "the doctor")]
    fn anything_else_is_a_prompt(#[case] words: &[&str], #[case] prompt: &str) {
        assert_eq!(prompt_of(words), prompt);
    }

    #[rstest]
    #[case("dcotor", "doctor")]
    #[case("docto", "doctor")]
    #[case("doctors", "doctor")]
    #[case("aith", "auth")]
    #[case("setuptoken", "setup-token")]
    #[case("mpc", "mcp")]
    fn a_word_one_edit_away_from_a_command_is_a_typo(#[case] word: &str, #[case] command: &str) {
        let error = classify(&args(&[word]), true).unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean {command}? to send it as a prompt: -p {word}")), "{error}");
    }

    #[test]
    fn two_edits_are_a_prompt() {
        assert_eq!(prompt_of(&["octors"]), "octors");
    }

    #[test]
    fn no_arguments_are_the_defaults_of_every_argument() {
        assert_eq!(parse_run(&[]).unwrap().0, RunArgs::default());
    }

    #[test]
    fn no_words_and_a_terminal_is_the_interactive_cli() {
        assert!(matches!(classify(&args(&["--model", "opus"]), true).unwrap(), Intent::Interactive(_)));
        assert!(matches!(classify(&[], false).unwrap(), Intent::Prompt(_)));
        assert!(matches!(classify(&args(&["-p"]), true).unwrap(), Intent::Prompt(_)));
    }

    #[rstest]
    #[case(&["x", "--modle", "opus"], "--model")]
    #[case(&["x", "--effort", "hihg"], "high")]
    #[case(&["x", "--output-format", "jsn"], "json")]
    fn a_wrong_flag_or_value_is_named_with_the_nearest_right_one(#[case] words: &[&str], #[case] right: &str) {
        let error = classify(&args(words), true).unwrap_err().to_string();
        assert!(error.contains(right), "{error}");
    }

    #[test]
    fn roles_are_known_and_their_typos_too() {
        let roles = ["init".to_owned(), "healthcheck".to_owned()];
        assert!(!is_prompt(&args(&["init"]), &roles) && !is_prompt(&args(&["--help"]), &roles));
        assert!(is_prompt(&args(&["hello"]), &roles) && is_prompt(&args(&["--model", "x"]), &roles));
        let names = || roles.iter().map(String::as_str);
        assert!(refuse_typo("helthcheck", names()).is_err() && refuse_typo("hello", names()).is_ok());
    }

    #[rstest]
    #[case(&["init", "--", "cron", "check", "/c.yaml"], true)]
    #[case(&["init", "cron", "check"], true)]
    #[case(&["init", "--", "cron check /c.yaml"], false)]
    #[case(&["init", "--", "cron", "checks"], false)]
    #[case(&["init", "--", "check", "cron"], false)]
    #[case(&["run", "cron", "check"], false)]
    #[case(&["init", "--", "cli", "list"], true)]
    #[case(&["init", "--", "cli", "install", "2.1.330"], true)]
    #[case(&["init", "--", "cli", "use", "latest"], true)]
    #[case(&["init", "--", "cli", "list", "the", "files"], false)]
    #[case(&["init", "--", "cli"], false)]
    #[case(&[], false)]
    fn what_needs_no_box_is_done_by_an_image_too(#[case] words: &[&str], #[case] expected: bool) {
        assert_eq!(needs_no_box(&args(words)), expected);
    }

    #[test]
    fn the_separator_of_the_entrypoint_is_dropped_once() {
        assert_eq!(after_separator(&args(&["--", "--", "x"])), args(&["--", "x"]));
        assert_eq!(after_separator(&args(&["x"])), args(&["x"]));
    }
}
