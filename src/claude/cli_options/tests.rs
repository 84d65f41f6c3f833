use std::collections::BTreeSet;

use rstest::rstest;

use super::*;

const HELP: &str = include_str!("../../../tests/fixtures/claude-cli/help.txt");

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|&word| word.to_owned()).collect()
}

fn taken_apart(line: &[&str], interactive: bool) -> Result<(Vec<String>, ForCli), OptionError> {
    let Split { ours, given } = split(&words(line), |name| name == "--timeout")?;
    Ok((ours, for_cli(given, interactive)?))
}

/// The options of the help, each with its names and how many values it takes.
fn of_help() -> BTreeSet<(Vec<&'static str>, String)> {
    let options = HELP.lines().skip_while(|line| *line != "Options:").take_while(|line| *line != "Commands:");
    let lines = options.filter(|line| line.starts_with("  -"));
    lines
        .map(|line| {
            let (names, values): (Vec<&str>, Vec<&str>) = line
                .trim_start()
                .split("  ")
                .next()
                .unwrap()
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .partition(|word| word.starts_with('-'));
            let takes = match values.first() {
                None => Nothing,
                Some(value) if value.contains("...") => Many,
                Some(value) if value.starts_with('[') => Optional,
                Some(_) => One,
            };
            (names, format!("{takes:?}"))
        })
        .collect()
}

#[test]
fn every_option_of_the_pinned_cli_is_in_the_table() {
    let table: BTreeSet<_> =
        OPTIONS.iter().map(|option| (option.names.to_vec(), format!("{:?}", option.takes))).collect();
    let help = of_help();
    assert!(help.len() > 50, "{help:?}");
    let (missing, gone): (Vec<_>, Vec<_>) = (help.difference(&table).collect(), table.difference(&help).collect());
    assert!(missing.is_empty() && gone.is_empty(), "not in the table: {missing:?}; not in the help: {gone:?}");
}

#[rstest]
#[case::plan(&["--permission-mode", "plan", "do it"], &["do it"], &["--permission-mode", "plan"])]
#[case::attached(&["--permission-mode=plan", "x"], &["x"], &["--permission-mode=plan"])]
#[case::list(&["x", "--allowedTools", "Bash(git *)", "Edit", "--model", "opus"], &["x", "--model=opus"], &["--allowedTools", "Bash(git *)", "Edit"])]
#[case::list_ends(&["--add-dir", "a", "b", "--", "c"], &["--", "c"], &["--add-dir", "a", "b"])]
#[case::optional(&["-d", "-p", "x"], &["-p", "x"], &["-d"])]
#[case::optional_with(&["--debug", "hooks", "x"], &["x"], &["--debug", "hooks"])]
#[case::ours_alone(&["--timeout", "5", "x"], &["--timeout", "5", "x"], &[])]
#[case::dash_value(&["--system-prompt", "-x", "y"], &["--system-prompt=-x", "y"], &[])]
#[case::needless(&["--dangerously-skip-permissions", "--verbose", "x"], &["x"], &[])]
#[case::after_separator(&["--", "--bg"], &["--", "--bg"], &[])]
#[case::short(&["-r", "id", "-c", "x"], &["--resume=id", "-c", "x"], &[])]
#[case::unknown(&["--modle", "opus"], &["--modle", "opus"], &[])]
fn a_command_line_is_taken_apart(#[case] line: &[&str], #[case] ours: &[&str], #[case] passed: &[&str]) {
    let expected = ForCli { passed: words(passed), picks: None };
    assert_eq!(taken_apart(line, false).unwrap(), (words(ours), expected));
}

#[rstest]
#[case(&["--bg", "x"], "--bg")]
#[case(&["--session-id", "x"], "sessionId")]
#[case(&["--input-format=stream-json"], "standard input")]
#[case(&["--remote-control"], "leave the prompt out")]
#[case(&["--resume"], "needs the id")]
#[case(&["x", "-r", "--model", "opus"], "needs the id")]
#[case(&["--permission-mode"], "needs a value")]
#[case(&["--allowedTools", "--model", "x"], "needs a value")]
#[case(&["--verbose=1"], "takes no value")]
#[case(&["--system-prompt-file", "x"], "--system-prompt")]
fn what_cannot_be_had_is_refused_with_the_reason(#[case] line: &[&str], #[case] why: &str) {
    let error = taken_apart(line, false).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_terminal_gets_the_clis_list_of_sessions() {
    let (_, for_cli) = taken_apart(&["--resume", "--verbose"], true).unwrap();
    assert_eq!(for_cli, ForCli { passed: words(&["--verbose"]), picks: Some(words(&["--resume"])) });
    let (_, for_cli) = taken_apart(&["--from-pr", "12"], true).unwrap();
    assert_eq!(for_cli.picks, Some(words(&["--from-pr", "12"])));
    assert!(taken_apart(&["--include-hook-events"], true).unwrap_err().to_string().contains("there is none"));
}

#[test]
fn words_that_a_list_may_have_taken_are_noticed() {
    assert_eq!(greedy(&words(&["--add-dir", "a", "fix it"])), Some("--add-dir"));
    assert_eq!(greedy(&words(&["--debug"])), None);
    assert_eq!(greedy(&words(&["--name", "fix it"])), None);
}
