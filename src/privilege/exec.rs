//! Becoming a program, and saying exactly why that failed.
//!
//! Not by the C library's `execvp`: that hands a file which is no program to `/bin/sh`, and so runs as shell commands whatever
//! lines a damaged or foreign binary has.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::execve;

use crate::exit_code::ExitCode;

/// The longest first line that the kernel reads, in bytes.
const FIRST_LINE_BYTES: u64 = 256;

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ExecError {
    #[error("cannot find {program}: install it{}", hint(.program))]
    NotFound { program: String },
    #[error("cannot run {program}: its first line names {interpreter:?}, which is not there{}", ends_of_lines(.interpreter))]
    NoInterpreter { program: String, interpreter: String },
    #[error("cannot run {program}: what loads it is not there, so it was built for another system (musl in place of glibc?){}", hint(.program))]
    NoLoader { program: String },
    #[error(
        "cannot run {program}: it is no program for this machine, and no script that begins with #! and an interpreter{}",
        hint(.program)
    )]
    NoProgram { program: String },
    #[error("cannot execute {program} ({source}): {}", remedy(.source, .program))]
    Refused { program: String, source: io::Error },
}

impl ExecError {
    /// As a shell: 127 for what is not there, 126 for what cannot be run.
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } | Self::NoLoader { .. } => ExitCode::NotFound,
            Self::NoProgram { .. } | Self::Refused { .. } => ExitCode::NotExecutable,
        }
    }
}

/// The CLI is the one program that a setting names.
fn hint(program: &str) -> &'static str {
    let is_cli = Path::new(program).file_name() == Some(OsStr::new("claude"))
        || std::env::var_os("CLAUDEBOX_CLAUDE_BIN").is_some_and(|named| named == program);
    if is_cli { ", or name another with CLAUDEBOX_CLAUDE_BIN" } else { "" }
}

fn ends_of_lines(interpreter: &str) -> &'static str {
    if interpreter.ends_with('\r') { " (its lines end as on Windows: convert it with dos2unix)" } else { "" }
}

fn remedy(error: &io::Error, program: &str) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES) => {
            format!("make it executable, and its file system not noexec{}", hint(program))
        }
        Some(Errno::ETXTBSY) => "somebody is writing to it: try again".to_owned(),
        Some(Errno::EAGAIN) => "its user has as many processes as it may (ulimit -u): raise the limit".to_owned(),
        Some(Errno::E2BIG) => "its arguments and environment are longer than the system allows".to_owned(),
        Some(Errno::ENOMEM) => "there is no memory left for it".to_owned(),
        _ => format!("it cannot be started{}", hint(program)),
    }
}

/// Becomes `program`, looked up on this process's PATH unless it holds a slash, with this environment or the process's own.
pub fn exec(program: &[CString], environment: Option<&[CString]>) -> Result<Infallible, ExecError> {
    let own: Vec<CString> = match environment {
        Some(_) => Vec::new(),
        None => std::env::vars_os().filter_map(variable).collect(),
    };
    let environment = environment.unwrap_or(&own);
    let name = program[0].to_string_lossy().into_owned();
    let mut refused = None;
    for path in candidates(&program[0]) {
        match execve(&path, program, environment) {
            Ok(never) => match never {},
            Err(Errno::ENOENT | Errno::ENOTDIR) if !is_there(&path) => {}
            // As a shell: another of that name may be executable.
            Err(Errno::EACCES) => refused = refused.or(Some(Errno::EACCES)),
            Err(errno) => return Err(explain(&path, errno)),
        }
    }
    Err(match refused {
        Some(errno) => ExecError::Refused { program: name, source: errno.into() },
        None => ExecError::NotFound { program: name },
    })
}

fn variable((mut name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<CString> {
    name.push("=");
    name.push(value);
    CString::new(name.into_vec()).ok()
}

fn candidates(program: &CStr) -> Vec<CString> {
    if program.to_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_folder =
        |folder: PathBuf| CString::new(folder.join(OsStr::from_bytes(program.to_bytes())).into_os_string().into_vec());
    std::env::split_paths(&path).filter_map(|folder| in_folder(folder).ok()).collect()
}

fn path_of(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

fn is_there(path: &CStr) -> bool {
    path_of(path).exists()
}

fn explain(path: &CStr, errno: Errno) -> ExecError {
    let program = path.to_string_lossy().into_owned();
    match errno {
        Errno::ENOENT => match interpreter(path_of(path)) {
            Some(interpreter) => ExecError::NoInterpreter { program, interpreter },
            None => ExecError::NoLoader { program },
        },
        Errno::ENOEXEC => ExecError::NoProgram { program },
        errno => ExecError::Refused { program, source: errno.into() },
    }
}

/// What the first line of a script names.
fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(FIRST_LINE_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    line.trim_start_matches([' ', '\t']).split([' ', '\t']).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rstest::rstest;

    /// What becoming a file with this content and mode says.
    fn failure(content: &[u8], mode: u32) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let program = CString::new(path.as_os_str().as_bytes()).unwrap();
        let error = exec(&[program], Some(&[])).unwrap_err();
        (error.exit_code().code(), error.to_string().replace(path.to_str().unwrap(), "PROGRAM"))
    }

    #[rstest]
    #[case::no_program(
        b"\xcf\xfa\xed\xfe\x07\n touch /tmp/ran\n",
        0o755,
        126,
        "cannot run PROGRAM: it is no program for this machine"
    )]
    #[case::empty(b"", 0o755, 126, "cannot run PROGRAM: it is no program for this machine")]
    #[case::no_first_line(b"touch /tmp/ran\n", 0o755, 126, "cannot run PROGRAM: it is no program for this machine")]
    #[case::interpreter(
        b"#!/no/such/shell -e\n",
        0o755,
        127,
        "its first line names \"/no/such/shell\", which is not there"
    )]
    #[case::windows(
        b"#!/bin/sh\r\n",
        0o755,
        127,
        "names \"/bin/sh\\r\", which is not there (its lines end as on Windows"
    )]
    #[case::mode(b"#!/bin/sh\n", 0o644, 126, "cannot execute PROGRAM (EACCES: Permission denied): make it executable")]
    fn what_is_wrong_with_a_program_is_said(
        #[case] content: &[u8],
        #[case] mode: u32,
        #[case] code: u8,
        #[case] message: &str,
    ) {
        let (found, text) = failure(content, mode);
        assert!(
            text.replace("Permission denied (os error 13)", "EACCES: Permission denied").contains(message),
            "{text}"
        );
        assert_eq!(found, code);
    }

    /// An ELF file of this machine whose loader is not there, as a program for musl on glibc is.
    #[test]
    fn one_without_its_loader_is_not_one_that_is_missing() {
        let mut own = fs::read("/bin/sh").unwrap();
        let loader = own.windows(4).position(|window| window == b"/lib").unwrap();
        own[loader..loader + 4].copy_from_slice(b"/bil");
        let (code, text) = failure(&own, 0o755);
        assert!(text.starts_with("cannot run PROGRAM: what loads it is not there"), "{text}");
        assert_eq!(code, 127);
    }

    #[test]
    fn one_that_is_written_to_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claude");
        fs::copy("/bin/true", &path).unwrap();
        let _writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let error = exec(&[CString::new(path.as_os_str().as_bytes()).unwrap()], Some(&[])).unwrap_err();
        assert!(error.to_string().ends_with("somebody is writing to it: try again"), "{error}");
        assert_eq!(error.exit_code(), ExitCode::NotExecutable);
    }

    #[test]
    fn one_that_is_missing_is_not_found() {
        for (program, hint) in
            [(c"no-such-program", ""), (c"/no/such/claude", ", or name another with CLAUDEBOX_CLAUDE_BIN")]
        {
            let error = exec(&[program.to_owned()], Some(&[])).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot find {}: install it{hint}", program.to_string_lossy()));
            assert_eq!(error.exit_code(), ExitCode::NotFound);
        }
    }
}
