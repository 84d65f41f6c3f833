//! What holds for the table itself, and what is written elsewhere from it: the host command's list of what takes a value, and
//! the pages.
//!
//! With `CLAUDEBOX_TEST_WRITE=1`, as `tests/docs/settings --write` sets it, the host command's list is written instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

use super::*;
use crate::claude::arguments::{Effort, OutputFormat};
use crate::claude::cli_options::{CliOption, HIDDEN, OPTIONS, Takes};
use crate::runs::submission::Busy;

/// Width of the host command's lines.
const WIDTH: usize = 130;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn each_option_is_defined_once_and_whole() {
    let names: BTreeSet<&str> = ALL.iter().map(|option| option.name).collect();
    assert_eq!(names.len(), ALL.len());
    for option in ALL {
        assert_eq!((option.field.option().name, option.field.snake()), (option.name, option.name));
        assert!(option.meaning.ends_with('.') && !option.meaning.contains('\n'), "{}", option.name);
        let places: Vec<Place> = option.at.iter().map(|(place, _)| *place).collect();
        assert!(option.more.iter().all(|(place, _)| places.contains(place)), "{}", option.name);
    }
    for model in form::MODELS {
        assert!(Field::Model.option().meaning.contains(model), "{model}");
    }
}

#[test]
fn a_name_has_its_spelling_everywhere() {
    let option = Field::MaxBudgetUsd.option();
    let named = |place| option.name_at(place).unwrap_or_default();
    assert_eq!((named(Place::Terminal), named(Place::Http)), ("max-budget-usd", "maxBudgetUsd"));
    assert_eq!((named(Place::Mcp), named(Place::OpenAi)), ("max_budget_usd", ""));
    let timeout = Field::TimeoutSeconds.option();
    assert_eq!(timeout.name_at(Place::Terminal), Some("timeout"));
    assert_eq!((Field::TimeoutSeconds.camel(), Field::TimeoutSeconds.snake()), ("timeoutSeconds", "timeout_seconds"));
}

/// A name of the table is one of the type's, and of those none is missing.
#[test]
fn names_are_those_of_the_types() {
    let efforts: Vec<Effort> = form::EFFORTS.iter().filter_map(|(name, _)| named(name)).collect();
    assert_eq!(efforts.iter().map(|effort| effort.name()).collect::<Vec<_>>(), Field::Effort.option().form.names());
    let busy: Vec<Busy> = form::BUSY.iter().filter_map(|(name, _)| named(name)).collect();
    assert_eq!(busy, [Busy::Reject, Busy::Queue, Busy::Replace]);
    let formats: Vec<OutputFormat> = form::FORMATS.iter().filter_map(|(name, _)| named(name)).collect();
    assert_eq!(formats.len(), 4);
    assert_eq!(named::<Effort>("huge"), None);
}

#[rstest]
#[case(form::dollars_of("0").map(drop), "must be a number above 0")]
#[case(form::dollars_of("nan").map(drop), "must be a number above 0")]
#[case(form::dollars_of("inf").map(drop), "must be a number above 0")]
#[case(form::count_of("0").map(drop), "must be an integer of at least 1")]
#[case(form::count_of("1.5").map(drop), "must be an integer of at least 1")]
#[case(form::count_of("5000000000").map(drop), "must be an integer of at least 1")]
#[case(form::seconds_of("x").map(drop), "must be a number above 0, at most 2592000")]
#[case(form::seconds_of("1e300").map(drop), "must be a number above 0, at most 2592000")]
#[case(form::seconds_of("1e-300").map(drop), "must be a number above 0, at most 2592000")]
#[case(form::model(""), "must be an alias (haiku, sonnet, opus, opusplan, sonnet[1m]) or a full model name")]
#[case(form::model("--help"), "must be an alias")]
#[case(form::model("two words"), "must be an alias")]
#[case(form::model("a\u{0}b"), "must be an alias")]
#[case(form::model(&"x".repeat(201)), "must be an alias")]
#[case(form::schema("{"), "must be a JSON object or its text; this is no JSON Schema: ")]
#[case(form::schema("[1]"), "must be a JSON object or its text; this is no JSON Schema: ")]
#[case(form::session("last").map(drop), "must be a session's id, the UUID that a result has")]
#[case(form::prompt(" \n"), "must not be empty")]
#[case(form::text("a\u{0}b"), "must not hold a NUL character")]
fn what_cannot_be_is_told_with_what_is_allowed(#[case] checked: Result<(), form::Wrong>, #[case] said: &str) {
    let wrong = checked.unwrap_err();
    assert!(wrong.said.starts_with(said) && !wrong.is_too_long, "{wrong}");
}

#[test]
fn what_can_be_is_taken() {
    assert!((form::dollars_of(" 0.50 ").unwrap() - 0.5).abs() < 1e-9);
    assert_eq!(form::count_of("3").unwrap(), 3);
    assert_eq!(form::seconds_of("1.5").unwrap().as_millis(), 1500);
    assert_eq!(form::seconds(2_592_000.0).unwrap(), form::LONGEST_TIMEOUT);
    assert!(form::model("us.anthropic.claude-opus-4-1-20250805-v1:0").is_ok() && form::model("sonnet[1m]").is_ok());
    assert_eq!(form::session("0192D0EA-0000-7000-8000-000000000000").unwrap(), "0192d0ea-0000-7000-8000-000000000000");
}

/// The names that take so many values, as alternatives of a branch of the shell's `case`.
fn branch(takes: Takes, own: &[String], expects: &str) -> String {
    let options = OPTIONS.iter().chain(HIDDEN).filter(|option| option.takes == takes);
    let mut names: BTreeSet<String> =
        options.flat_map(|option: &CliOption| option.names).map(|name| (*name).to_owned()).collect();
    names.extend(own.iter().cloned());
    // A short name stands beside its long one.
    let sorted = |name: &&String| name.trim_start_matches('-').to_ascii_lowercase();
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_by_key(sorted);
    let mut lines = vec![String::from("            ")];
    for (at, name) in names.iter().enumerate() {
        let word = if at == 0 { (*name).clone() } else { format!(" | {name}") };
        let last = lines.len() - 1;
        if lines[last].len() + word.len() > WIDTH - 20 {
            lines[last].push_str(" \\");
            lines.push(format!("                |{}", word.trim_start_matches(" |")));
        } else {
            lines[last].push_str(&word);
        }
    }
    format!("{}) expects={expects} ;;\n", lines.join("\n"))
}

/// It tells a prompt from a session by the words that are no option's value.
#[test]
fn the_host_command_knows_how_many_values_each_option_takes() {
    let own: Vec<String> = at(Place::Terminal)
        .filter(|(_, option)| option.form != Form::Switch)
        .map(|(name, _)| format!("--{name}"))
        .filter(|name| crate::claude::cli_options::find(name).is_none())
        .collect();
    assert!(own.contains(&"--timeout".to_owned()) && own.contains(&"--busy".to_owned()), "{own:?}");
    let branches =
        [branch(Takes::One, &own, "one"), branch(Takes::Optional, &[], "maybe"), branch(Takes::Many, &[], "many")];
    let path = file("scripts/claudebox");
    let script = fs::read_to_string(&path).unwrap();
    let begin = "            # How many values an option has. From src/desk/options.rs and src/claude/cli_options.rs, by tests/docs/settings --write:\n";
    let (before, rest) = script.split_once(begin).unwrap();
    let (is, after) = rest.split_once("            # (end)\n").unwrap();
    let wanted = branches.concat();
    if std::env::var_os("CLAUDEBOX_TEST_WRITE").is_some() {
        fs::write(path, format!("{before}{begin}{wanted}            # (end)\n{after}")).unwrap();
        return;
    }
    assert_eq!(is, wanted, "scripts/claudebox differs from the tables of options (tests/docs/settings --write)");
}

/// Its help and the completions of each of three shells.
#[test]
fn the_host_command_names_every_option() {
    let script = fs::read_to_string(file("scripts/claudebox")).unwrap();
    let (before, rest) = script.split_once("\nprompt_or_session() {").unwrap();
    let script = [before, rest.split_once("\n}\n").unwrap().1].concat();
    // Those who need these know the CLI.
    let is_told = |option: &RunOption| !matches!(option.field, Field::IncludePartialMessages | Field::Settings);
    for (name, _) in at(Place::Terminal).filter(|(_, option)| is_told(option)) {
        let is_whole = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_lowercase() || next == '-');
        let is_named = |(at, _): &(usize, &str)| {
            let (before, rest) = (&script[..*at], &script[at + name.len()..]);
            (before.ends_with(" --") || before.ends_with("'--") || before.ends_with(",--") || before.ends_with("-l "))
                && is_whole(rest)
        };
        assert!(script.match_indices(name).filter(is_named).count() >= 4, "--{name}");
    }
    let with_models: Vec<String> =
        script.lines().filter(|line| line.contains("opusplan")).map(|line| line.replace('\\', "")).collect();
    assert!(with_models.len() >= 3);
    assert!(with_models.iter().all(|line| form::MODELS.iter().all(|model| line.contains(model))), "{with_models:#?}");
}

#[rstest]
#[case(Place::Terminal, "docs/prompts.md")]
#[case(Place::Http, "docs/http.md")]
#[case(Place::Mcp, "docs/mcp.md")]
#[case(Place::OpenAi, "docs/openai.md")]
#[case(Place::Cron, "docs/cron.md")]
#[case(Place::Telegram, "docs/telegram.md")]
fn the_pages_name_every_option(#[case] place: Place, #[case] page: &str) {
    let text = fs::read_to_string(file(page)).unwrap();
    for (name, _) in at(place) {
        let name = if place == Place::Terminal { format!("--{name}") } else { name.to_owned() };
        let is_named = [format!("`{name}`"), format!("`{name} ")].iter().any(|named| text.contains(named.as_str()));
        assert!(is_named, "{page} does not name {name}");
    }
}
