//! Looks for tools and asks each for its version. No tool can fail, hang or litter the survey: each gets a time limit, no
//! input, an environment with nothing of ours and a home that is thrown away.

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{AccessFlags, Pid, access};

use super::catalogue::Tool;
use super::data::FoundTool;
use super::version;
use crate::config::environment::Environment;

/// Longest that one tool may take. Generous: the first start of a large program reads it from a cold disk, the machine that
/// builds may be busy, and of a tool that is left out Claude is not told.
pub const LIMIT: Duration = Duration::from_mins(1);
/// How long the rest of the output may take once its writer has ended.
const OUTPUT_LIMIT: Duration = Duration::from_millis(500);
const OUTPUT_BYTES: u64 = 64 * 1024;
const THREADS: usize = 4;

/// Where toolchains that are not below `/usr` say they are; nothing else of the environment reaches a tool.
const PASSED_ON: [&str; 9] = [
    "CARGO_HOME",
    "GOROOT",
    "GOTOOLCHAIN",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",
    "NODE_PATH",
    "PYENV_ROOT",
    "PYTHONPATH",
    "RUSTUP_HOME",
];

/// Why a tool that is there is not in the manifest.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProbeError {
    #[error("it does not start: {0}")]
    Start(#[source] io::Error),
    #[error("it did not end within {0:?}")]
    TimedOut(Duration),
    #[error("{status}: {said}")]
    Failed { status: ExitStatus, said: String },
}

/// What became of one tool.
#[derive(Debug)]
pub struct Finding {
    /// What was looked for.
    pub tool: &'static Tool,
    /// What it is, or why it is left out.
    pub entry: Result<FoundTool, ProbeError>,
}

/// Looks for every tool of `catalogue` on `PATH`; those that are nowhere are in no finding.
pub fn survey(
    catalogue: &'static [Tool],
    env: &(impl Environment + Sync),
    limit: Duration,
) -> io::Result<Vec<Finding>> {
    let home = tempfile::tempdir()?;
    let search = env.get("PATH").unwrap_or_default();
    let room = Room { home: home.path(), environment: environment(env, &search, home.path()), limit };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut findings = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(tool) = catalogue.get(at) else { return findings };
            let Some((name, path)) = find(tool, &search) else { continue };
            let entry = examine(tool, name, &path, &room);
            findings.push((at, Finding { tool, entry }));
        }
    };
    let mut findings: Vec<(usize, Finding)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    findings.sort_by_key(|(at, _)| *at);
    Ok(findings.into_iter().map(|(_, finding)| finding).collect())
}

/// Where a tool is asked.
struct Room<'survey> {
    home: &'survey Path,
    environment: Vec<(&'static str, OsString)>,
    limit: Duration,
}

fn environment(env: &impl Environment, search: &OsStr, home: &Path) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&str, OsString)> =
        PASSED_ON.iter().filter_map(|name| Some((*name, env.get(name)?))).collect();
    // The last ones keep tools from asking for, or announcing, a newer version of themselves.
    let own: [(&str, OsString); 9] = [
        ("PATH", search.into()),
        ("HOME", home.into()),
        ("TMPDIR", home.into()),
        ("LANG", "C.UTF-8".into()),
        ("TERM", "dumb".into()),
        ("NO_COLOR", "1".into()),
        ("NO_UPDATE_NOTIFIER", "1".into()),
        ("CHECKPOINT_DISABLE", "1".into()),
        ("DISABLE_AUTOUPDATER", "1".into()),
    ];
    variables.extend(own);
    variables
}

fn find(tool: &Tool, search: &OsStr) -> Option<(&'static str, PathBuf)> {
    tool.commands.iter().find_map(|command| Some((*command, executable(command, search)?)))
}

/// The executable that a shell with this `PATH` runs for `command`.
pub(super) fn executable(command: &str, search: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(command))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

fn examine(tool: &Tool, command: &str, path: &Path, room: &Room<'_>) -> Result<FoundTool, ProbeError> {
    let (status, output) = ask(path, tool.arguments, room)?;
    if !(status.success() || !tool.is_versioned && status.code().is_some_and(|code| code < 126)) {
        let said = output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
        return Err(ProbeError::Failed { status, said });
    }
    let name = tool.plugin.map_or_else(|| command.to_owned(), |plugin| format!("{command} {plugin}"));
    Ok(FoundTool {
        name,
        version: version::parse(&output).filter(|_| tool.is_versioned),
        path: path.to_string_lossy().into_owned(),
        group: tool.group,
        purpose: tool.purpose.into(),
    })
}

/// Runs the tool to its end, or to the limit's; how it ended, and what it said.
fn ask(path: &Path, arguments: &[&str], room: &Room<'_>) -> Result<(ExitStatus, String), ProbeError> {
    let (output, input) = io::pipe().map_err(ProbeError::Start)?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(room.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(room.home)
        .stdin(Stdio::null())
        .stdout(input.try_clone().map_err(ProbeError::Start)?)
        .stderr(input)
        .process_group(0);
    let mut child = command.spawn().map_err(ProbeError::Start)?;
    // It holds the write ends, and the output ends with the last of them.
    drop(command);
    let output = read(output);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let in_time = ended(pid).recv_timeout(room.limit).is_ok();
    // Not reaped yet, so that its id still is its own. What it left in the background goes with it.
    let _ = killpg(pid, Signal::SIGKILL);
    let status = child.wait().map_err(ProbeError::Start)?;
    if !in_time {
        return Err(ProbeError::TimedOut(room.limit));
    }
    // A daemon in a session of its own may hold on to the output; then there is none.
    let bytes = output.recv_timeout(OUTPUT_LIMIT).unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads the output's beginning. Who writes more than that gets a broken pipe.
fn read(output: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.take(OUTPUT_BYTES).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Tells the end of a child without reaping it.
fn ended(pid: Pid) -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        let _ = sender.send(());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::catalogue::Group;
    use std::collections::HashMap;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    const fn tool(commands: &'static [&'static str]) -> Tool {
        Tool {
            commands,
            plugin: None,
            group: Group::Languages,
            arguments: &["--version"],
            is_versioned: true,
            purpose: "",
        }
    }

    /// A folder with executables, as `PATH`.
    fn path(scripts: &[(&str, &str)]) -> (tempfile::TempDir, HashMap<String, OsString>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in scripts {
            // Written by another process: a test beside this one that forks just now would hold on to a file that is
            // open for writing, and such a file cannot be executed.
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 755 "$0""#;
            let file = folder.path().join(name);
            assert!(Command::new("sh").args(["-c", write]).arg(file).arg(text).status().unwrap().success());
        }
        let search = format!("{}:/usr/bin:/bin", folder.path().display());
        (folder, HashMap::from([("PATH".to_owned(), search.into()), ("SECRET".to_owned(), "x".into())]))
    }

    fn versions(findings: &[Finding]) -> Vec<(String, Option<String>)> {
        let entries = findings.iter().filter_map(|finding| finding.entry.as_ref().ok());
        entries.map(|entry| (entry.name.clone(), entry.version.clone())).collect()
    }

    #[test]
    fn tools_are_found_under_any_of_their_names_in_the_order_of_the_list() {
        static TOOLS: [Tool; 4] = [
            tool(&["x-out"]),
            tool(&["x-nowhere"]),
            Tool { plugin: Some("part"), ..tool(&["x-first", "x-second"]) },
            tool(&["x-err"]),
        ];
        let scripts =
            [("x-second", "echo v2.0; echo $SECRET"), ("x-out", "echo out $1 1.0"), ("x-err", "echo 3.0 >&2")];
        let (folder, env) = path(&scripts);
        let findings = survey(&TOOLS, &env, LIMIT).unwrap();
        let expected = [("x-out", "1.0"), ("x-second part", "2.0"), ("x-err", "3.0")];
        assert_eq!(versions(&findings), expected.map(|(name, version)| (name.into(), Some(version.into()))));
        let path = &findings[0].entry.as_ref().unwrap().path;
        assert_eq!(Path::new(path), folder.path().join("x-out"));
    }

    #[test]
    fn a_tool_that_fails_is_left_out_and_says_why() {
        static TOOLS: [Tool; 3] = [tool(&["x-fails"]), tool(&["x-broken"]), tool(&["x-good"])];
        let (folder, env) = path(&[("x-fails", "echo; echo no library >&2; exit 3"), ("x-good", "echo 1.0")]);
        fs::write(folder.path().join("x-broken"), "\u{7f}ELF nonsense").unwrap();
        fs::set_permissions(folder.path().join("x-broken"), Permissions::from_mode(0o755)).unwrap();
        let findings = survey(&TOOLS, &env, LIMIT).unwrap();
        assert_eq!(versions(&findings).len(), 1);
        assert_eq!(findings[0].entry.as_ref().unwrap_err().to_string(), "exit status: 3: no library");
        assert!(matches!(findings[1].entry, Err(ProbeError::Start(_))), "{findings:?}");
    }

    #[test]
    fn one_without_a_version_may_exit_with_anything() {
        static TOOLS: [Tool; 1] = [Tool { is_versioned: false, ..tool(&["x-usage"]) }];
        let (_folder, env) = path(&[("x-usage", "echo 'usage: 1.0'; exit 2")]);
        assert_eq!(versions(&survey(&TOOLS, &env, LIMIT).unwrap()), [("x-usage".into(), None)]);
    }

    #[test]
    fn neither_hanging_nor_flooding_nor_reading_nor_a_daemon_holds_the_survey_up() {
        static TOOLS: [Tool; 4] = [tool(&["x-hangs"]), tool(&["x-floods"]), tool(&["x-reads"]), tool(&["x-daemon"])];
        let hangs = "sleep 1000 & sleep 1000";
        let (_folder, env) = path(&[
            ("x-hangs", hangs),
            ("x-floods", "exec yes 1.0"),
            ("x-reads", "cat; echo 1.0"),
            ("x-daemon", "sleep 1000 & echo 2.0"),
        ]);
        let began = Instant::now();
        let findings = survey(&TOOLS, &env, Duration::from_secs(2)).unwrap();
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
        assert!(matches!(findings[0].entry, Err(ProbeError::TimedOut(_))), "{findings:?}");
        assert!(matches!(findings[1].entry, Err(ProbeError::Failed { .. })), "{findings:?}");
        let expected = [("x-reads", "1.0"), ("x-daemon", "2.0")];
        assert_eq!(versions(&findings), expected.map(|(name, version)| (name.into(), Some(version.into()))));
    }

    #[test]
    fn a_tool_gets_a_home_that_is_gone_afterwards() {
        static TOOLS: [Tool; 1] = [tool(&["x-home"])];
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let script = format!("pwd >{0}; echo $HOME >>{0}; echo cache >cache; echo 1.0", note.display());
        let (_scripts, env) = path(&[("x-home", &script)]);
        survey(&TOOLS, &env, LIMIT).unwrap();
        let homes = fs::read_to_string(note).unwrap();
        assert_eq!(homes.lines().count(), 2);
        assert!(homes.lines().all(|home| !Path::new(home).exists()), "{homes}");
    }
}
