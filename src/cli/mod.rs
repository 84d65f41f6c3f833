//! The command line: which role this process plays, and the one place where errors become exit codes.

pub mod audit;
pub mod call;
pub mod claude_cli;
mod configure;
pub mod cron;
pub mod doctor;
pub mod failure;
pub mod healthcheck;
pub mod intent;
pub mod local;
pub mod log;
pub mod misread;
pub mod roles;
pub mod run_args;
pub mod serve;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

use self::failure::Failure;
use self::misread::Misread;
use self::run_args::RunArgs;
use crate::config::environment::ProcessEnvironment;
use crate::exit_code::ExitCode;
use crate::init::serving;
use crate::privilege::helper;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let cli = include_str!("../../claude-cli.version").trim();
    format!("{} (for Claude Code CLI {cli})", env!("CARGO_PKG_VERSION"))
});

/// PID 1 for Claude Code: runs the CLI as an unprivileged user and looks after everything it starts.
#[derive(Debug, Parser)]
#[command(
    name = "claudebox",
    version = VERSION.as_str(),
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Anything else is a prompt: `claudebox \"explain this codebase\"` is `claudebox run \"explain this codebase\"`.\n\
                  Settings are environment variables; docs/settings.md lists them."
)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Boot the box and run Claude in it: the image's entrypoint
    ///
    /// With no arguments and a terminal it opens the interactive CLI. With a prompt it answers it and exits; `run --help`
    /// lists the options. The CLI's own commands (--version, auth, mcp, setup-token, update) reach the CLI; `doctor` looks at
    /// the box, `doctor --cli` is the CLI's.
    Init {
        /// A prompt and its options, or one of the CLI's own commands
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Answer one prompt and exit (what `docker exec` calls)
    Run(Box<RunArgs>),
    /// Run the servers (HTTP API and the other doors)
    Serve,
    /// Look at a file of jobs
    Cron {
        #[command(subcommand)]
        command: cron::Command,
    },
    /// Install, choose and remove versions of the Claude CLI
    Cli {
        #[command(subcommand)]
        command: claude_cli::Command,
    },
    /// Check this box and say what is wrong with it
    Doctor {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Delete this workspace's sessions; the next run starts a fresh one
    ClearSession,
    /// Exit 0 if the box is healthy (the image's HEALTHCHECK)
    Healthcheck,
    /// Find this image's tools, ask each for its version, and write the manifest (JSON)
    ///
    /// Made for the build of an image; at a start only its file is read, to tell Claude what is in the box.
    Manifest {
        /// File to write instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Serve a scripted Messages API on loopback, so that the CLI runs with no account
    ///
    /// Prints its URL on standard output once it accepts connections. Send the prompt `offline:help` for its scenarios.
    OfflineModel {
        /// Address to listen on; it must be a loopback address, port 0 picks a free one
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
    },
    /// Print the host command that belongs to this image
    HostCommand,
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Plays the role that `args` (the program's name first) ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if intent::needs_no_box(&args[1.min(args.len())..]) {
        // As `docker run IMAGE cron check FILE` calls it.
        args = [&args[..1], intent::after_separator(&args[2..])].concat();
    }
    let (first, rest) = (args.get(1).and_then(|arg| arg.to_str()), args.get(2..).unwrap_or_default());
    // These carry the rest of their command line to somebody else, so clap does not get to read it.
    match first {
        Some(helper::ROLE) => {
            let error = helper::run(rest.iter().cloned());
            return Err(Failure::new(error.exit_code(), error));
        }
        Some(roles::launch::ROLE) => return roles::launch::run(rest, &ProcessEnvironment),
        Some(crate::runs::child::ROLE) => return roles::turn::run(&ProcessEnvironment),
        Some(call::ROLE) => return call::run(rest, &ProcessEnvironment),
        Some(doctor::probe::ROLE) => return doctor::probe::run(rest, &mut io::stdout()),
        Some(claude_cli::ENSURE) => return claude_cli::ensure(rest, &ProcessEnvironment),
        Some(roles::worker::ROLE) => return roles::worker::run(rest, &ProcessEnvironment),
        Some(roles::broker::ROLE) if roles::broker::is_meant(rest) => {
            return roles::broker::run(rest, &ProcessEnvironment);
        }
        Some(audit::ROLE) if audit::is_meant(rest) => return audit::run(rest).and_then(|text| print(text.as_bytes())),
        Some(serving::END_RUNS) => return serve::end_runs(rest),
        Some("init") if !intent::wants_help(rest) => {
            return roles::supervise::init(intent::after_separator(rest), &ProcessEnvironment);
        }
        Some("run") => return roles::supervise::run(rest, &ProcessEnvironment),
        Some(word) if intent::is_prompt(&args[1..], &role_names()) => {
            // Several words are a prompt, however much the first one looks like a role.
            if rest.is_empty()
                && let Err(misread) = intent::refuse_typo(word, role_names().iter().map(String::as_str))
            {
                return misread.answer();
            }
            return roles::supervise::run(&args[1..], &ProcessEnvironment);
        }
        _ => {}
    }
    match Cli::try_parse_from(args).map(|cli| cli.role) {
        Err(error) => Misread::from(error).answer(),
        Ok(Role::Init { .. } | Role::Run(_)) => Err(Failure::internal("this role was handled before")),
        Ok(Role::Serve) => serve::run(&ProcessEnvironment),
        Ok(Role::Cron { command: cron::Command::Check { file } }) => {
            cron::check(file, &ProcessEnvironment).and_then(|listing| print(listing.as_bytes()))
        }
        Ok(Role::Cli { command }) => {
            claude_cli::run(&command, &ProcessEnvironment).and_then(|text| print(text.as_bytes()))
        }
        Ok(Role::Doctor { json }) => doctor::run(json, &ProcessEnvironment, &mut io::stdout()),
        Ok(Role::ClearSession) => {
            let count = roles::clear_session(&ProcessEnvironment)?;
            let what = match count {
                0 => "there was no session of this workspace\n".to_owned(),
                1 => "1 session of this workspace deleted\n".to_owned(),
                count => format!("{count} sessions of this workspace deleted\n"),
            };
            print(what.as_bytes())
        }
        Ok(Role::Healthcheck) => healthcheck::run(&mut io::stdout()),
        Ok(Role::Manifest { output }) => {
            let manifest = roles::manifest(&ProcessEnvironment)?;
            output.map_or_else(|| print(&manifest), |file| roles::save(&file, &manifest))
        }
        Ok(Role::OfflineModel { listen }) => roles::offline_model(listen),
        Ok(Role::HostCommand) => print(include_bytes!("../../scripts/claudebox")),
        Ok(Role::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "claudebox", &mut script);
            print(&script)
        }
    }
}

/// The code to exit with. A process that a signal has ended does not return: it ends by that signal's default action, so that
/// whoever waits for it sees the true status.
pub fn end(code: ExitCode) -> std::process::ExitCode {
    // The kernel does nothing by default to PID 1, and a core would lie in somebody's workspace.
    if let ExitCode::Signal(signal) = code
        && std::process::id() != 1
        && i32::from(signal) != libc::SIGQUIT
    {
        // Nobody may be there to read it.
        let _ = io::stdout().flush();
        if let Err(error) = signal_hook::low_level::emulate_default_handler(signal.into()) {
            tracing::debug!("not ended by signal {signal}: {error}");
        }
    }
    code.into()
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(ExitCode::Ok),
    }
}

fn role_names() -> Vec<String> {
    Cli::command().get_subcommands().map(|role| role.get_name().to_owned()).collect()
}
