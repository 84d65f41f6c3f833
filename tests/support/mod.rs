//! A box for tests: `claudebox` as PID 1 of fresh namespaces, with a user database, home and workspace of its own.
//!
//! Tests talk to a box over its output and with signals, and wait for what they can see, never for time to pass. Every
//! process of a box ends with its test: the kernel kills a PID namespace with its PID 1, and that dies with the test.
//!
//! A box has its own `/etc`, `/var` and `/run`, and cannot change the machine's `/root`, `/home` and `/usr`: its PID 1 is
//! root, and gives homes and folders away.
//!
//! Needs root, and `unshare`, `setsid`, `ip` and `mount`; stub programs in boxes are shell and perl scripts.

pub(crate) mod output;
pub(crate) mod process;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use output::Stream;
use process::Process;

/// What has not happened by then never will. `scripts/mutants` waits for nothing and asks for less.
pub(crate) static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
    let asked = std::env::var("CLAUDEBOX_TEST_DEADLINE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(60))
});

/// The user that a box drops to.
pub(crate) const UID: u32 = 1000;
/// The user of what looks after Claude, in a box without one of that name.
pub(crate) const GUARD: u32 = 64_198;
/// How often something that raises no event is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// A launch's tail that leaves claudebox an ordinary process and a shell PID 1. After claudebox, it prints the names of
/// the processes that are left, and ends with claudebox's exit code.
pub(crate) const NOT_PID1: &str = r#"
    "$@"; code=$?
    for folder in /proc/[2-9] /proc/[1-9][0-9]*; do
        if read -r line 2>/dev/null <"$folder/stat"; then echo "left behind: $line"; fi
    done
    echo "nothing else is left"
    exit $code
"#;

const END: &str = "--- the end of the box ---";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder with everything that a box needs.
pub(crate) struct TestBox {
    folder: tempfile::TempDir,
}

impl TestBox {
    /// `None`, with a line on stderr, when this is not root.
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let testbox = Self { folder };
        for name in ["etc", "etc.work", "var", "var.work"] {
            fs::create_dir(testbox.path(name)).unwrap();
        }
        for name in ["home", "work"] {
            fs::create_dir(testbox.path(name)).unwrap();
            chown(testbox.path(name), Some(UID), Some(UID)).unwrap();
        }
        let home = testbox.path("home");
        let passwd = format!("root:x:0:0:root:/root:/bin/sh\nclaude:x:{UID}:{UID}::{}:/bin/sh\n", home.display());
        fs::write(testbox.path("etc/passwd"), passwd).unwrap();
        let group = format!("root:x:0:\nclaude:x:{UID}:\ndocker:x:998:claude\nvideo:x:44:root,claude\nstaff:x:50:\n");
        fs::write(testbox.path("etc/group"), group).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_claudebox"));
        // A link is as good as a copy, and free; the build folder may be on another file system.
        fs::hard_link(program, testbox.program()).or_else(|_| fs::copy(program, testbox.program()).map(drop)).unwrap();
        Some(testbox)
    }

    /// The path of `name` in this box's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in the file `note` in the workspace.
    pub(crate) fn note(&self) -> String {
        fs::read_to_string(self.path("work/note")).unwrap()
    }

    /// claudebox in this box.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("claudebox")
    }

    /// Writes an executable; its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `claudebox init -- auth` with the executable `text` as its main child.
    pub(crate) fn main_child(&self, text: &str) -> Launch<'_> {
        let path = self.script("main-child", text);
        self.claudebox(&["init", "--", "auth"]).env("CLAUDEBOX_CLAUDE_BIN", &path)
    }

    /// `claudebox ARGS`, as PID 1 unless told otherwise.
    pub(crate) fn claudebox(&self, args: &[&str]) -> Launch<'_> {
        let launch = Launch {
            testbox: self,
            program: self.program(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            environment: Vec::new(),
            before: String::new(),
            tail: None,
            terminal: false,
            input: false,
            network: "--net",
        };
        // No box of a test installs a CLI, unless it is about that.
        let launch = launch.env("PATH", PATH).env("CLAUDEBOX_CLAUDE_BIN", "claude");
        launch.env("CLAUDEBOX_WORKSPACE", self.path("work").to_str().unwrap())
    }
}

/// How to start a box.
pub(crate) struct Launch<'testbox> {
    testbox: &'testbox TestBox,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<String>,
    before: String,
    tail: Option<String>,
    terminal: bool,
    input: bool,
    network: &'static str,
}

impl Launch<'_> {
    /// Sets a variable; a box has no others but PATH.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// Starts this executable instead of the box's claudebox.
    pub(crate) fn program(mut self, path: &str) -> Self {
        self.program = path.into();
        self
    }

    /// Shell commands to run in the namespaces before claudebox starts. `$BOX` is the box's folder.
    pub(crate) fn before(mut self, commands: &str) -> Self {
        self.before.push_str(commands);
        self.before.push('\n');
        self
    }

    /// Shell commands instead of `exec "$@"`: that is claudebox with its environment and arguments.
    pub(crate) fn tail(mut self, commands: &str) -> Self {
        self.tail = Some(commands.to_owned());
        self
    }

    /// Starts it with a terminal, which is its controlling one.
    pub(crate) fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Starts it with a pipe as standard input; [`Running::write`] fills it. Otherwise it reads nothing.
    pub(crate) fn with_input(mut self) -> Self {
        self.input = true;
        self
    }

    /// Starts it in the network of the test, which can reach its servers then.
    pub(crate) fn shared_network(mut self) -> Self {
        // There must be something in its place, and this is what `--fork` does anyway.
        self.network = "--fork";
        self
    }

    /// Starts the box.
    pub(crate) fn start(self) -> Running {
        let tail = match (&self.tail, self.terminal) {
            (Some(tail), _) => tail,
            (None, true) => r#"exec setsid --ctty "$@""#,
            (None, false) => r#"exec "$@""#,
        };
        // On a terminal only `unshare` keeps the pipe, and its end tells the end of the box.
        let streams = if self.terminal { "exec 2>&1" } else { "" };
        let Self { before, .. } = &self;
        let script = format!(
            "set -e\n\
             mount -t proc proc /proc\n\
             ip link set lo up\n\
             mount -t tmpfs tmpfs /run\n\
             for folder in etc var; do\n\
                 mount -t overlay overlay -o \"lowerdir=/$folder,upperdir=$BOX/$folder,workdir=$BOX/$folder.work\" /$folder\n\
             done\n\
             for folder in /root /home /usr; do mount -o bind,ro $folder $folder; done\n\
             ulimit -c 0\n\
             cd /\n\
             set +e\n\
             {streams}\n{before}\n{tail}"
        );
        let mut command = Command::new("unshare");
        command
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                self.network,
                "--ipc",
                "--",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .args(["env", "-i"])
            .args(&self.environment)
            .arg(&self.program)
            .args(&self.args)
            .env("BOX", self.testbox.folder.path())
            .stderr(Stdio::piped());
        if self.terminal { start_on_terminal(command) } else { start_on_pipes(command, self.input) }
    }
}

fn start_on_pipes(mut command: Command, input: bool) -> Running {
    command.stdin(if input { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = Stream::read(child.stdout.take().unwrap());
    let err = Stream::read(child.stderr.take().unwrap());
    let input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    Running { child, out, err, input, slave: None }
}

fn start_on_terminal(mut command: Command) -> Running {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = nix::pty::openpty(&size, None).unwrap();
    for side in [&pair.master, &pair.slave] {
        // A box must not get a descriptor more than its terminal.
        nix::fcntl::fcntl(side, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    }
    command.stdin(pair.slave.try_clone().unwrap()).stdout(pair.slave.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    drop(command);
    let out = Stream::read(File::from(pair.master.try_clone().unwrap()));
    let err = Stream::read(child.stderr.take().unwrap());
    Running { child, out, err, input: Some(File::from(pair.master)), slave: Some(pair.slave) }
}

/// A box that was started.
pub(crate) struct Running {
    child: Child,
    out: Stream,
    err: Stream,
    /// The terminal's master, or the pipe to standard input.
    input: Option<File>,
    /// The terminal, kept open so that its state can be looked at after the box.
    slave: Option<OwnedFd>,
}

impl Running {
    /// Waits until standard output (or the terminal) holds `text` after what was waited for before; what lay between.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        match self.out.expect(text) {
            Ok(between) => between,
            Err(why) => panic!("{text:?} did not come, {why}\n{}", self.transcript()),
        }
    }

    /// Types into the terminal, or writes to standard input.
    pub(crate) fn write(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for `label` and gives the rest of its line.
    pub(crate) fn value(&mut self, label: &str) -> String {
        self.expect(label);
        self.expect("\n").trim_end().to_owned()
    }

    /// Writes to standard input for as long as anybody reads it.
    pub(crate) fn write_until_refused(&mut self, text: &str) {
        let _ = self.input.as_mut().unwrap().write_all(text.as_bytes());
    }

    /// Ends standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// The terminal, from outside.
    pub(crate) fn terminal(&self) -> Stdio {
        self.slave.as_ref().unwrap().try_clone().unwrap().into()
    }

    /// Whether a reader of the terminal would get something.
    pub(crate) fn terminal_has_input(&self) -> bool {
        claudebox::process::events::is_readable(self.slave.as_ref().unwrap()).unwrap()
    }

    /// PID 1 of the box, as the test sees it, once the box has printed something.
    pub(crate) fn pid1(&self) -> i32 {
        self.find_pid1().unwrap_or_else(|| panic!("there is no PID 1\n{}", self.transcript()))
    }

    fn find_pid1(&self) -> Option<i32> {
        let unshare = self.child.id();
        fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?.trim().parse().ok()
    }

    /// The supervisor of a box whose PID 1 is a shell, as the test sees it.
    pub(crate) fn supervisor(&self) -> i32 {
        let supervisor = self.processes().into_iter().find(|process| process.name == "claudebox");
        supervisor.unwrap_or_else(|| panic!("there is no supervisor\n{}", self.transcript())).pid
    }

    /// Kills PID 1, and with it the whole box, and waits until it is gone; what it had said on standard error.
    pub(crate) fn kill(mut self) -> String {
        self.signal(libc::SIGKILL);
        // Ends with PID 1, whose own end waits for that of everybody in the box.
        self.child.wait().unwrap();
        let _ = self.err.wait_for_end();
        self.err.text().to_owned()
    }

    /// Sends PID 1 a signal.
    pub(crate) fn signal(&self, signal: i32) {
        claudebox::sys::kill(self.pid1(), signal).unwrap();
    }

    /// All processes of the box, PID 1 first.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.find_pid1().map(process::in_namespace_of).unwrap_or_default()
    }

    /// Waits until `condition` holds for the box's processes.
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&[Process]) -> bool) {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            let processes = self.processes();
            if !processes.is_empty() && condition(&processes) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "{what}: the box has ended\n{}", self.transcript());
            assert!(Instant::now() < deadline, "never: {what}\n{processes:?}\n{}", self.transcript());
            self.out.take_for(GLANCE);
        }
    }

    /// Waits for the end of the box.
    pub(crate) fn finish(mut self) -> Finished {
        let complaint = if let Err(why) = self.err.wait_for_end() {
            Some(why)
        } else if self.slave.is_none() {
            self.out.wait_for_end().err()
        } else {
            None
        };
        if let Some(why) = complaint {
            panic!("the box did not end, {why}: {:?}\n{}", self.processes(), self.transcript());
        }
        let status = self.child.wait().unwrap();
        let Some(code) = status.code() else { panic!("PID 1 did not exit: {status}\n{}", self.transcript()) };
        if let Some(terminal) = self.slave.as_ref() {
            // The reader may lag behind; what is written now comes after everything of the box.
            File::from(terminal.try_clone().unwrap()).write_all(END.as_bytes()).unwrap();
            self.expect(END);
        }
        let (out, err) = (self.out.text().to_owned(), self.err.text().to_owned());
        Finished { code, out, err, running: self }
    }

    fn transcript(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}\n---", self.out.text(), self.err.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A box that has ended.
pub(crate) struct Finished {
    /// Its exit code.
    pub(crate) code: i32,
    /// Everything on its standard output or terminal.
    pub(crate) out: String,
    /// Everything on its standard error; on a terminal that is part of `out`.
    pub(crate) err: String,
    /// Its terminal is still there.
    pub(crate) running: Running,
}

impl Finished {
    /// Checks the exit code and shows the output if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}", self.running.transcript());
        self
    }
}
