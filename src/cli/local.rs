//! `claudebox run` in a box whose servers run: the prompt becomes a run of theirs, through the local door.
//!
//! Nothing is started here and no right is needed: this process asks, prints, and goes. Its end is the run's end, however
//! it comes about, because the server notices that the connection is gone.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::failure::Failure;
use super::roles::worker::{collect_prompt, is_watched};
use super::run_args::RunArgs;
use crate::boot;
use crate::claude::outcome::Outcome;
use crate::claude::sessions::Sessions;
use crate::config::call::Variables;
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::doors::local::wire::{self, Answer, LocalRunEnd, Question, RefusalKind};
use crate::exit_code::ExitCode;
use crate::process::events::{self, Interest, Signals};
use crate::runs::submission::Busy;
use crate::sys;
use crate::worker::output::{Ending, Printer, ended_by, tell};

/// How long servers may take to check a CLI that is there, and between two looks.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
const CHECK_PAUSE: Duration = Duration::from_millis(50);
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// The servers of this box, if there are any.
///
/// A run inside a run does not go there: in the same workspace it would wait for the one it is part of.
pub(super) fn connect(config: &Config, env: &impl Environment) -> Option<UnixStream> {
    if env.get(name::RUN_ID).is_some() {
        return None;
    }
    let config_dir = boot::config_dir(config, env).unwrap_or_default();
    let path = config.state_folder(&config_dir).join(wire::SOCKET);
    // Whatever keeps it from being reached, a dead server's socket or a path too long for one: nobody is there.
    UnixStream::connect(&path).inspect_err(|error| tracing::debug!("no servers at {}: {error}", path.display())).ok()
}

/// Has the servers at the other end of `stream` answer the prompt.
pub(super) fn run(
    args: RunArgs,
    stream: UnixStream,
    config: &Config,
    env: &impl Environment,
) -> Result<ExitCode, Failure> {
    let signals = Signals::block_all().map_err(Failure::internal)?;
    if let (Some(id), false) = (&args.options.resume, args.options.fork_session)
        && let Some(sessions) = sessions(config, env)
    {
        sessions.check_free(id).map_err(|error| Failure::of_session(&error))?;
    }
    let ask = Question {
        prompt: collect_prompt(&args, &signals)?,
        format: args.output_format,
        workspace: workspace(config),
        busy: args.busy.unwrap_or(Busy::Queue),
        variables: Variables::of_call(env),
        options: args.options,
    };
    let mut question = serde_json::to_vec(&ask).map_err(Failure::usage)?;
    question.push(b'\n');
    stream.set_nonblocking(true).map_err(Failure::internal)?;
    let is_watched = is_watched(config, env);
    let mut client = Client {
        connection: Connection::new(stream, &question),
        printer: Printer::new(io::stdout().lock(), ask.format, is_watched),
        says_place: is_watched,
        has_result: false,
        stopped: None,
    };
    let began = Instant::now();
    let last = loop {
        match client.converse(&signals).map_err(Failure::internal)? {
            // The CLI is there, and is being checked.
            Last::Refused(_, RefusalKind::NotReady) if client.stopped.is_none() && began.elapsed() < CHECK_LIMIT => {
                events::wait(&signals, &[], Some(Instant::now() + CHECK_PAUSE)).map_err(Failure::internal)?;
                let Some(stream) = connect(config, env) else { break Last::Nothing };
                stream.set_nonblocking(true).map_err(Failure::internal)?;
                client.connection = Connection::new(stream, &question);
            }
            last => break last,
        }
    };
    let stopped = client.stopped;
    let code = match last {
        Last::End(end) => client.finish(end).map_err(Failure::internal),
        Last::Refused(detail, because) => Err(Failure::new(exit_code(because), detail)),
        Last::Nothing => client.stopped.map_or_else(
            || {
                let detail =
                    "the servers ended before the run did: what became of it, GET /runs says once they are back";
                Err(Failure::new(ExitCode::Truncated, detail))
            },
            |signal| Ok(ExitCode::by_signal(signal)),
        ),
    }?;
    // The run may have ended otherwise before it heard of the signal.
    Ok(stopped.filter(|signal| code == ExitCode::from_signal(*signal)).map_or(code, ExitCode::by_signal))
}

fn sessions(config: &Config, env: &impl Environment) -> Option<Sessions> {
    let config_dir = boot::config_dir(config, env).ok()?;
    Some(Sessions { state_dir: config.notes_folder(&config_dir), config_dir })
}

/// The folder to work in.
fn workspace(config: &Config) -> PathBuf {
    let named = config.workspace_is_named.then_some(config.workspace.as_path());
    let here = std::env::current_dir().ok();
    let root = std::fs::canonicalize(&config.workspaces_dir).unwrap_or_else(|_| config.workspaces_dir.clone());
    let usual = config.workspace.is_dir().then_some(config.workspace.as_path());
    choose(named, here.as_deref(), usual, &root).to_owned()
}

/// The one that was named; else where the user stands, if that is one of the servers' workspaces; else the usual one, or
/// the root of them all.
fn choose<'path>(
    named: Option<&'path Path>,
    here: Option<&'path Path>,
    usual: Option<&'path Path>,
    root: &'path Path,
) -> &'path Path {
    named.or_else(|| here.filter(|here| here.starts_with(root))).or(usual).unwrap_or(root)
}

const fn exit_code(refusal: RefusalKind) -> ExitCode {
    match refusal {
        RefusalKind::Wrong => ExitCode::Usage,
        RefusalKind::Workspace => ExitCode::Config,
        RefusalKind::NotNow => ExitCode::RateLimited,
        RefusalKind::NotReady => ExitCode::Unavailable,
        RefusalKind::Forbidden => ExitCode::Auth,
        RefusalKind::Fault => ExitCode::Internal,
    }
}

/// The last thing that was said.
enum Last {
    End(LocalRunEnd),
    Refused(String, RefusalKind),
    /// The server has gone, or this process does not wait any longer.
    Nothing,
}

struct Client<W> {
    connection: Connection,
    printer: Printer<W>,
    /// Whether somebody wants to know how many runs are before this one.
    says_place: bool,
    has_result: bool,
    /// The signal that asked for the run's end.
    stopped: Option<i32>,
}

impl<W: Write> Client<W> {
    fn converse(&mut self, signals: &Signals) -> io::Result<Last> {
        loop {
            while let Some(signal) = signals.next()? {
                match (signal, self.stopped) {
                    // As if it were not blocked: the run goes on, and its events wait.
                    (libc::SIGTSTP, _) => sys::kill(std::process::id().cast_signed(), libc::SIGSTOP)?,
                    (signal, None) if events::asks_to_stop(signal) => self.stop(signal),
                    // Asked twice: no more patience. The run is being ended without anybody who waits for it.
                    (signal, Some(_)) if events::asks_to_stop(signal) => return Ok(Last::Nothing),
                    _ => {}
                }
            }
            self.connection.write()?;
            self.connection.read()?;
            while let Some(line) = self.connection.take_line() {
                if let Some(last) = self.hear(&line)? {
                    return Ok(last);
                }
            }
            if !self.connection.open {
                return Ok(Last::Nothing);
            }
            self.connection.wait(signals)?;
        }
    }

    /// Takes an answer; the last one comes back.
    fn hear(&mut self, line: &[u8]) -> io::Result<Option<Last>> {
        match serde_json::from_slice(line)? {
            Answer::Accepted { run_id } => tracing::debug!("run {run_id}"),
            Answer::Waiting { ahead, running } if self.says_place => tracing::info!("{}", place(ahead, running)),
            Answer::Waiting { .. } => {}
            Answer::Event(event) => {
                self.has_result |= event["type"] == "result";
                match self.printer.relay(&event) {
                    // Nobody reads any more, so nobody wants the run.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stop(libc::SIGPIPE),
                    printed => printed?,
                }
            }
            Answer::End(end) => return Ok(Some(Last::End(end))),
            Answer::Refused { detail, because } => return Ok(Some(Last::Refused(detail, because))),
        }
        Ok(None)
    }

    /// Asks for the end of the run, once.
    fn stop(&mut self, signal: i32) {
        if self.stopped.is_none() {
            self.stopped = Some(signal);
            self.connection.unsent.extend(wire::CANCEL);
        }
    }

    /// Prints how it ended, as a run without servers does.
    fn finish(mut self, end: LocalRunEnd) -> io::Result<ExitCode> {
        let LocalRunEnd { outcome, mut complaint, result: mut envelope } = end;
        // A run that never started was taken out of the queue.
        let mut outcome = outcome.unwrap_or(Outcome::Killed { signal: None });
        // What the server sent to its CLI is not what this process was sent.
        if let (Outcome::Killed { .. }, Some(signal)) = (outcome, self.stopped) {
            outcome = Outcome::Killed { signal: Some(signal) };
            envelope["signal"] = signal.into();
            complaint = Some(ended_by(Some(signal)));
        }
        let code = outcome.exit_code();
        match self.printer.finish(&Ending { outcome, envelope, has_result: self.has_result }) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        if let Some(complaint) = complaint {
            tell(&complaint, outcome);
        }
        Ok(code)
    }
}

fn place(ahead: usize, running: Option<Uuid>) -> String {
    let of = running.map_or_else(String::new, |run| format!(", {run} is at work"));
    match ahead {
        0 => "waiting: all run slots are in use by other workspaces".to_owned(),
        1 => format!("waiting: 1 run is before this one in its workspace{of}; Ctrl-C stops"),
        more => format!("waiting: {more} runs are before this one in its workspace{of}; Ctrl-C stops"),
    }
}

/// A non-blocking connection; only `wait` blocks.
struct Connection {
    stream: UnixStream,
    unsent: VecDeque<u8>,
    heard: Vec<u8>,
    /// So many bytes of what was heard hold no line feed.
    searched: usize,
    open: bool,
}

impl Connection {
    /// One that has yet to send `question`.
    fn new(stream: UnixStream, question: &[u8]) -> Self {
        Self { stream, unsent: question.to_vec().into(), heard: Vec::new(), searched: 0, open: true }
    }

    fn wait(&self, signals: &Signals) -> io::Result<()> {
        let readable = Interest::readable(&self.stream);
        if self.unsent.is_empty() {
            events::wait(signals, &[readable], None)
        } else {
            events::wait(signals, &[readable, Interest::writable(&self.stream)], None)
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent.as_slices().0) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Why it does not want the rest, it may have said.
                Err(error) if has_gone(&error) => self.unsent.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => break self.open = false,
                Ok(count) => {
                    self.heard.extend_from_slice(&block[..count]);
                    // What is there is printed before more is taken.
                    if block[..count].contains(&b'\n') {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if has_gone(&error) => break self.open = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.heard[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.heard.len();
            return None;
        };
        let line = self.heard.drain(..=self.searched + end).collect();
        self.searched = 0;
        Some(line)
    }
}

fn has_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Some("/a"), Some("/workspaces/x"), Some("/workspace"), "/a")]
    #[case(None, Some("/workspaces/x"), Some("/workspace"), "/workspaces/x")]
    #[case(None, Some("/workspaces"), None, "/workspaces")]
    #[case(None, Some("/workspaces-secret"), Some("/workspace"), "/workspace")]
    #[case(None, Some("/"), None, "/workspaces")]
    #[case(None, None, None, "/workspaces")]
    fn the_workspace_is_the_named_one_or_where_one_stands(
        #[case] named: Option<&str>,
        #[case] here: Option<&str>,
        #[case] usual: Option<&str>,
        #[case] chosen: &str,
    ) {
        let [named, here, usual] = [named, here, usual].map(|path| path.map(Path::new));
        assert_eq!(choose(named, here, usual, Path::new("/workspaces")), Path::new(chosen));
    }
}
