//! What the host command (`scripts/claudebox`) calls in a box of its own, through `docker exec`.
//!
//! ```text
//! call run SETTINGS ID ARGS...       one prompt or one of the CLI's commands, without a terminal
//! call session SETTINGS ID ARGS...   the same on a terminal
//! call wait SETTINGS                returns when the box accepts calls
//! call cancel ID SIGNAL              sends that call a signal (its number), and returns when it has ended
//! call list                          the calls at work, one line each: kind, id
//! ```
//!
//! One engine call has to do for a prompt, so the questions that the host command would have to ask before are answered
//! here: is this box still the one that its settings ask for (SETTINGS, `-` for any), and does it take prompts? If so, a
//! line says so on both streams before anything else comes from `run`: whatever goes wrong before that line, the host
//! command may try again; after it, the prompt has been taken. On both, because an engine writes its own errors to either.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

use super::failure::Failure;
use super::{healthcheck, local, roles};
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::exit_code::ExitCode;
use crate::init::serving::{NAME_READY, NAME_STARTING};
use crate::process::{events, table};
use crate::sys;

/// The hidden role.
pub(super) const ROLE: &str = "call";
/// The line.
const TAKEN: &[u8] = b"claudebox: taken\n";
/// How long a server that says it is ready may be out of reach.
const OUT_OF_REACH: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE_MILLISECONDS: u16 = 5;
/// How long a call that is to be cancelled may take to come into the box.
const APPEARS: Duration = Duration::from_millis(500);
/// How long a cancelled call may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(9);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call<'args> {
    Run { settings: &'args OsString, args: &'args [OsString] },
    Session { settings: &'args OsString, args: &'args [OsString] },
    Wait { settings: &'args OsString },
    Cancel { id: &'args OsString, signal: i32 },
    List,
}

impl<'args> Call<'args> {
    fn read(args: &'args [OsString]) -> Option<Self> {
        let (kind, rest) = args.split_first()?;
        match (kind.to_str()?, rest) {
            ("run", [settings, _, args @ ..]) => Some(Self::Run { settings, args }),
            ("session", [settings, _, args @ ..]) => Some(Self::Session { settings, args }),
            ("wait", [settings]) => Some(Self::Wait { settings }),
            ("cancel", [id, signal]) => {
                let signal = signal.to_str()?.parse().ok().filter(|signal| events::asks_to_stop(*signal))?;
                Some(Self::Cancel { id, signal })
            }
            ("list", []) => Some(Self::List),
            _ => None,
        }
    }
}

/// Carries it out.
pub(super) fn run(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let call = Call::read(args).ok_or_else(Failure::of_hidden_role)?;
    match call {
        Call::Run { settings, args } => {
            if let Some(code) = refusal(settings, env)? {
                return Ok(code);
            }
            io::stdout().write_all(TAKEN).map_err(Failure::internal)?;
            io::stderr().write_all(TAKEN).map_err(Failure::internal)?;
            roles::supervise::run(args, env)
        }
        Call::Session { settings, args } => {
            if let Some(code) = refusal(settings, env)? {
                return Ok(code);
            }
            roles::supervise::run(args, env)
        }
        Call::Wait { settings } => Ok(refusal(settings, env)?.unwrap_or(ExitCode::Ok)),
        Call::Cancel { id, signal } => cancel(id, signal).map_err(Failure::internal),
        Call::List => {
            let lines: Vec<String> =
                at_work().iter().map(|call| format!("{} {}\n", call.kind, call.id.display())).collect();
            io::stdout().write_all(lines.concat().as_bytes()).map_err(Failure::internal)?;
            Ok(ExitCode::Ok)
        }
    }
}

/// Why this box does not take the call, if it does not. Waits for a box that is starting.
fn refusal(settings: &OsString, env: &impl Environment) -> Result<Option<ExitCode>, Failure> {
    if settings != "-" && env.get(name::HOST_SETTINGS).as_ref() != Some(settings) {
        return Ok(Some(ExitCode::BoxDiffers));
    }
    let config = Config::read(env).map_err(Failure::config)?;
    let mut unreachable_since = None;
    loop {
        let Some(supervisor) = healthcheck::supervisor() else { return Ok(Some(ExitCode::BoxClosed)) };
        if healthcheck::is_named(supervisor, NAME_READY) {
            if local::connect(&config, env).is_some() {
                return Ok(None);
            }
            // It is about to end, or has just lost its servers.
            if unreachable_since.get_or_insert_with(Instant::now).elapsed() > OUT_OF_REACH {
                return Ok(Some(ExitCode::BoxClosed));
            }
        } else if !healthcheck::is_named(supervisor, NAME_STARTING) {
            return Ok(Some(ExitCode::BoxClosed));
        }
        pause();
    }
}

/// A call at work.
#[derive(Debug, PartialEq, Eq)]
struct AtWork {
    pid: i32,
    kind: String,
    id: OsString,
}

fn at_work() -> Vec<AtWork> {
    let own = std::process::id().cast_signed();
    let guests = table::snapshot().into_iter().filter(|process| process.parent == 0 && process.pid != own);
    guests
        .filter_map(|process| {
            let (kind, id) = read_command(&fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?)?;
            Some(AtWork { pid: process.pid, kind, id })
        })
        .collect()
}

/// The kind and the id, if a command line is that of a call to be listed.
fn read_command(command: &[u8]) -> Option<(String, OsString)> {
    use std::os::unix::ffi::OsStringExt;

    let mut args = command.split(|&byte| byte == 0).map(|arg| OsString::from_vec(arg.to_vec()));
    let program = args.next()?;
    if !program.as_encoded_bytes().ends_with(b"claudebox") || args.next()? != ROLE {
        return None;
    }
    let kind = args.next()?.into_string().ok().filter(|kind| kind == "run" || kind == "session")?;
    let _settings = args.next()?;
    Some((kind, args.next()?))
}

/// Ends the call with this id as its caller was told to end. One that does not appear has ended.
fn cancel(id: &OsString, signal: i32) -> io::Result<ExitCode> {
    let began = Instant::now();
    let mut asked = Vec::new();
    loop {
        let calls: Vec<AtWork> = at_work().into_iter().filter(|call| call.id == *id).collect();
        if calls.is_empty() && (!asked.is_empty() || began.elapsed() > APPEARS) {
            return Ok(ExitCode::Ok);
        }
        if began.elapsed() > CANCEL_LIMIT {
            return Ok(ExitCode::Hung);
        }
        for AtWork { pid, .. } in calls {
            if !asked.contains(&pid) {
                asked.push(pid);
                sys::kill(pid, signal)?;
            }
        }
        pause();
    }
}

fn pause() {
    // Of nothing, with a time limit: it cannot fail but by a signal, and then there is one look more.
    let _ = poll(&mut [], PollTimeout::from(PAUSE_MILLISECONDS));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn what_is_asked_for() {
        let words = args(&["run", "-", "7", "--", "x"]);
        assert_eq!(Call::read(&words), Some(Call::Run { settings: &words[1], args: &words[3..] }));
        assert_eq!(Call::read(&args(&["list"])), Some(Call::List));
        let words = args(&["cancel", "7", "15"]);
        assert_eq!(Call::read(&words), Some(Call::Cancel { id: &words[1], signal: libc::SIGTERM }));
        let wrong: [&[&str]; 8] = [
            &[],
            &["run"],
            &["run", "-"],
            &["cancel", "7"],
            &["cancel", "7", "0"],
            &["cancel", "7", "TERM"],
            &["list", "x"],
            &["other", "-", "7"],
        ];
        for wrong in wrong {
            assert_eq!(Call::read(&args(wrong)), None, "{wrong:?}");
        }
    }

    #[rstest]
    #[case(b"claudebox\0call\0run\0-\x0042\0hello\0", Some(("run", "42")))]
    #[case(b"/usr/local/bin/claudebox\0call\0session\0abc\x0043\0", Some(("session", "43")))]
    #[case(b"claudebox\0call\0list\0", None)]
    #[case(b"claudebox\0call\0cancel\x0042\0", None)]
    #[case(b"claudebox\0run\0call\0run\0-\x0042\0", None)]
    #[case(b"bash\0call\0run\0-\x0042\0", None)]
    #[case(b"", None)]
    fn calls_are_known_by_their_command_line(#[case] command: &[u8], #[case] call: Option<(&str, &str)>) {
        let call = call.map(|(kind, id)| (kind.to_owned(), OsString::from(id)));
        assert_eq!(read_command(command), call);
    }
}
