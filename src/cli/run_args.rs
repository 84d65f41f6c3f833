//! The arguments of a run: clap's, made from the table of options, and read into types.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::claude::arguments::{Options, OutputFormat};
use crate::desk::options::form::{self, Form, Wrong};
use crate::desk::options::{self, Field, Place, RunOption};
use crate::runs::submission::Busy;

const WORDS: &str = "words";
const PRINT: &str = "print";

/// Arguments of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunArgs {
    /// The prompt's words.
    pub words: Vec<String>,
    /// Whether the words are a prompt, whatever they are.
    pub print: bool,
    /// Whether the run goes on with the workspace's last session, as without it.
    pub goes_on: bool,
    /// What to print.
    pub output_format: OutputFormat,
    /// What to do if a run of this box's servers works in the workspace.
    pub busy: Option<Busy>,
    /// Options of the run itself.
    pub options: Options,
}

impl RunArgs {
    /// The words of the command line, as one text.
    pub fn prompt_words(&self) -> String {
        self.words.join(" ")
    }
}

impl Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        let words = Arg::new(WORDS).value_name("PROMPT").num_args(0..).action(ArgAction::Append);
        let words = words.help("The prompt; several words need no quotes. What standard input holds is added to it");
        let print = Arg::new(PRINT).short('p').long(PRINT).action(ArgAction::SetTrue);
        let print = print.help("Take the words as a prompt, whatever they are");
        command.arg(words).arg(print).args(options::at(Place::Terminal).map(|(name, option)| argument(name, option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// An option as clap has it.
fn argument(name: &'static str, option: &'static RunOption) -> Arg {
    let meaning = option.meaning_at(Place::Terminal);
    let argument = Arg::new(option.name).long(name).help(meaning.trim_end_matches('.').to_owned());
    let argument = match option.form {
        Form::Switch => argument.action(ArgAction::SetTrue),
        form => argument.value_name(value_name(option)).value_parser(parser(form)),
    };
    match option.field {
        Field::Continue => argument.short('c').conflicts_with_all(ids([Field::Resume, Field::NoContinue])),
        Field::ContinueInteractive | Field::ContinueScripts => {
            argument.conflicts_with_all(ids([Field::Resume, Field::NoContinue]))
        }
        Field::OutputFormat => argument.default_value("text"),
        _ => argument,
    }
}

fn ids(fields: [Field; 2]) -> [&'static str; 2] {
    fields.map(Field::snake)
}

/// What stands for its value in the help.
const fn value_name(option: &RunOption) -> &'static str {
    match option.form {
        Form::Model => "MODEL",
        Form::Dollars => "USD",
        Form::Count => "N",
        Form::Seconds => "SECONDS",
        Form::Schema => "SCHEMA",
        Form::Session => "SESSION_ID",
        Form::FileOrJson => "FILE_OR_JSON",
        Form::Name(_) => match option.field {
            Field::Effort => "LEVEL",
            Field::OutputFormat => "FORMAT",
            _ => "WHAT",
        },
        Form::Prompt | Form::Text | Form::Switch | Form::Address => "TEXT",
    }
}

fn parser(form: Form) -> ValueParser {
    fn checked(check: fn(&str) -> Result<(), Wrong>) -> ValueParser {
        ValueParser::new(move |text: &str| check(text).map(|()| text.to_owned()))
    }
    match form {
        Form::Prompt => checked(form::prompt),
        Form::Text => checked(form::text),
        Form::Model => checked(form::model),
        Form::Schema => checked(form::schema),
        Form::Dollars => ValueParser::new(form::dollars_of),
        Form::Count => ValueParser::new(form::count_of),
        Form::Seconds => ValueParser::new(form::seconds_of),
        Form::Name(names) => {
            let value = |(name, means): &(&'static str, &'static str)| match *means {
                "" => PossibleValue::new(*name),
                means => PossibleValue::new(*name).help(means),
            };
            PossibleValuesParser::new(names.iter().map(value)).into()
        }
        // On a terminal the CLI takes a session's title for its id as well.
        Form::Session | Form::Address | Form::FileOrJson | Form::Switch => ValueParser::string(),
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let is_on = |field: Field| matches.get_flag(field.snake());
        let text = |field: Field| matches.get_one::<String>(field.snake()).cloned();
        *self = Self {
            words: matches.get_many::<String>(WORDS).into_iter().flatten().cloned().collect(),
            print: matches.get_flag(PRINT),
            goes_on: is_on(Field::Continue),
            output_format: text(Field::OutputFormat).and_then(|name| options::named(&name)).unwrap_or_default(),
            busy: text(Field::Busy).and_then(|name| options::named(&name)),
            options: Options {
                model: text(Field::Model),
                system_prompt: text(Field::SystemPrompt),
                append_system_prompt: text(Field::AppendSystemPrompt),
                json_schema: text(Field::JsonSchema),
                effort: text(Field::Effort).and_then(|name| options::named(&name)),
                resume: text(Field::Resume),
                fork_session: is_on(Field::ForkSession),
                no_continue: is_on(Field::NoContinue),
                continue_interactive: is_on(Field::ContinueInteractive),
                continue_scripts: is_on(Field::ContinueScripts),
                max_budget_usd: matches.get_one::<f64>(Field::MaxBudgetUsd.snake()).copied(),
                max_turns: matches.get_one::<u32>(Field::MaxTurns.snake()).copied(),
                timeout: matches.get_one::<Duration>(Field::TimeoutSeconds.snake()).copied(),
                include_partial_messages: is_on(Field::IncludePartialMessages),
                settings: text(Field::Settings),
                cli: Vec::new(),
                picks: None,
            },
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::arguments::Effort;

    fn read(words: &[&str]) -> Result<RunArgs, clap::Error> {
        let command = RunArgs::augment_args(Command::new("run"));
        let matches = command.try_get_matches_from(std::iter::once(&"run").chain(words));
        matches.and_then(|matches| RunArgs::from_arg_matches(&matches))
    }

    /// Each option of the table by its name, with a value that it may have: none is left out where it is read.
    #[test]
    fn every_option_of_the_table_is_read() {
        let nothing = read(&[]).unwrap();
        assert_eq!(nothing, RunArgs::default());
        for (name, option) in options::at(Place::Terminal) {
            let value = match option.form {
                Form::Switch => None,
                Form::Dollars | Form::Count | Form::Seconds => Some("2"),
                Form::Schema => Some("{}"),
                Form::Name(names) => names.last().map(|(name, _)| *name),
                _ => Some("x"),
            };
            let name = format!("--{name}");
            let words: Vec<&str> = std::iter::once(name.as_str()).chain(value).collect();
            assert_ne!(read(&words).unwrap(), nothing, "{name}");
        }
    }

    #[test]
    fn values_are_read_into_types() {
        let words = ["--effort", "xhigh", "--busy", "replace", "--output-format", "json-verbose", "--timeout", "1.5"];
        let args = read(&words).unwrap();
        assert_eq!((args.busy, args.output_format), (Some(Busy::Replace), OutputFormat::JsonVerbose));
        assert_eq!(args.options.effort, Some(Effort::Xhigh));
        assert_eq!(args.options.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(read(&["a", "--model", "opus", "b"]).unwrap().prompt_words(), "a b");
    }

    #[test]
    fn a_wrong_value_is_told_what_is_allowed() {
        for (words, allowed) in [
            (["--max-budget-usd", "0"], "must be a number above 0"),
            (["--max-turns", "0"], "must be an integer of at least 1"),
            (["--timeout", "1e9"], "must be a number above 0, at most 2592000"),
            (["--json-schema", "[1]"], "must be a JSON object or its text"),
            (["--model=", "x"], "full model name"),
        ] {
            let error = read(&words).unwrap_err().to_string();
            assert!(error.contains(allowed), "{error}");
        }
        assert!(read(&["-c", "--no-continue"]).is_err() && read(&["--continue-scripts", "--resume", "x"]).is_err());
    }
}
