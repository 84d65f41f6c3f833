//! The broker: holds the credential of the API, so that nothing that an agent can read has it.
//!
//! A process of its own. For each run it makes a unix socket under a name that nobody can guess, and the CLI talks to that in
//! place of the API (`ANTHROPIC_UNIX_SOCKET`). What the run may ask for goes on with the true credential, streams back byte by
//! byte, and is read on the way: so a budget ends a run in the middle of an answer. The run's owner holds a connection to the
//! control socket; when that closes, the run's socket is gone and what ran through it is cut.
//!
//! Beside that it is the way out for everything else: a proxy with an allow-list ([`egress`]).
//!
//! | module | what it decides |
//! |---|---|
//! | `protocol` | the messages between the broker and a run's owner |
//! | `credential` | the environment -> what is sent, and where to |
//! | `headers` | which headers go on, and which come back |
//! | `usage` | an answer's bytes -> what it has used |
//! | `limits` | an answer's headers -> what they say of limits |
//! | `account` | what a run has spent -> whether it may spend more |
//! | `forward` | a run's requests |
//! | `control` | a run's socket, from its first message to the end of its connection |
//! | `egress` | which hosts may be connected to |
//! | `audit` | the log of verdicts, in a chain |

mod account;
pub mod audit;
mod control;
mod credential;
mod egress;
mod forward;
mod headers;
mod limits;
pub mod protocol;
mod refused;
mod reply;
mod usage;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::audit::{Audit, AuditError};
use self::control::{Control, NAME_LENGTH};
pub use self::credential::EnvironmentError;
use self::credential::{Credential, Upstream};
use self::egress::Egress;
pub use self::egress::RulesError;
use self::forward::Gate;
pub use self::forward::GateError;
use self::protocol::{CredentialKind, Door};
use crate::config::environment::Environment;

/// Names are looked up in threads.
const LOOKUP_THREADS: usize = 32;
const LOOKUP_STACK: usize = 512 * 1024;
const MOST_DESCRIPTORS: u64 = 65_536;
/// Longest path of a socket, bytes: the kernel's limit without the closing NUL.
const LONGEST_SOCKET: usize = 107;

/// Where the egress proxy listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// At this address.
    At(SocketAddr),
    /// Standard output is the socket, and listens already.
    HandedOver,
}

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where runs are opened: a socket, for this user alone. `None`: standard input is that socket, and listens already.
    pub control: Option<PathBuf>,
    /// The folder of the runs' sockets.
    pub sockets: PathBuf,
    /// For a CLI whose run nobody opens: it is there as long as the broker.
    pub standing: Option<Door>,
    /// Where the egress proxy listens, and its allow-list. With it the broker needs no credential.
    pub egress: Option<(Listen, PathBuf)>,
    /// The audit log.
    pub audit: Option<PathBuf>,
}

/// Why the broker could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The allow-list cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A path is too long for the runs' sockets.
    #[error("the path {0} is too long for a socket: at most {LONGEST_SOCKET} bytes, of which a run's name takes 33")]
    LongPath(PathBuf),
    /// A socket or its folder cannot be made.
    #[error("the broker cannot listen on {at}: {source}")]
    Listen {
        /// Where.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can go on to the API.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The asynchronous runtime did not start, or it cannot watch for signals.
    #[error("the broker cannot start: {0}")]
    Start(io::Error),
    /// Nobody would know that it listens.
    #[error("the broker cannot say on standard output that it is ready: {0}")]
    Announce(io::Error),
}

/// Whether a broker can work with these variables, and which credential it would have.
pub fn check(env: &impl Environment) -> Result<CredentialKind, EnvironmentError> {
    let credential = Credential::read(env)?;
    Upstream::read(env).map(|_| credential.kind())
}

/// Whether the list at `path` can be used by a broker of the user `uid`.
pub fn check_list(path: &Path, uid: u32) -> Result<(), RulesError> {
    egress::check(path, uid)
}

/// Serves until SIGTERM or SIGINT. Writes the line `ready` to standard output when it listens.
///
/// Both signals must be unblocked in the calling thread. Builds its own single-threaded runtime, so it must not be called from
/// one. Sets the process's file mode mask.
pub fn serve(options: &Options, env: &impl Environment) -> Result<(), Error> {
    let environment = credential::variables(env);
    let has_credential = match check(&environment) {
        // Nobody can open a run then.
        Err(EnvironmentError::NoCredential) if options.egress.is_some() => false,
        checked => checked.map(|_| true)?,
    };
    let run_socket = options.sockets.as_os_str().len() + 1 + NAME_LENGTH;
    let control = options.control.iter().map(|control| (control, control.as_os_str().len()));
    for (path, length) in control.chain([(&options.sockets, run_socket)]) {
        if length > LONGEST_SOCKET {
            return Err(Error::LongPath(path.clone()));
        }
    }
    // A socket is connected to from the moment on that it is bound: until its mode is set, by this user alone.
    umask(Mode::from_bits_truncate(0o077));
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUP_THREADS)
        .thread_stack_size(LOOKUP_STACK)
        .build()
        .map_err(Error::Start)?;
    let served = runtime.block_on(until_signal(options, environment, has_credential));
    // Drops all tasks, and with them the runs' sockets. A name that is being looked up is not waited for.
    runtime.shutdown_background();
    served
}

/// A run holds up to some hundred connections; the usual soft limit of 1024 is there for programs that call `select`.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(MOST_DESCRIPTORS).max(soft), hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the broker's limit of descriptors stays as it is");
    }
}

async fn until_signal(
    options: &Options,
    environment: HashMap<String, OsString>,
    has_credential: bool,
) -> Result<(), Error> {
    // Watched before anything is announced: whoever reads the line may signal at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
    let audit = Audit::open(options.audit.as_deref())?;
    let gate = has_credential.then(|| Gate::of(&environment, audit.clone())).transpose()?;
    let failed = |at: &Path| {
        let at = at.display().to_string();
        move |source| Error::Listen { at, source }
    };
    prepare(&options.sockets).map_err(failed(&options.sockets))?;
    let (listener, _file) = match &options.control {
        Some(path) => {
            control::remove_left_over(path).map_err(failed(path))?;
            let (listener, file) = control::listen(path.clone(), 0o600).map_err(failed(path))?;
            (listener, Some(file))
        }
        None => (handed_over().map_err(failed(Path::new("standard input")))?, None),
    };
    if let Some((listen, allow)) = &options.egress {
        let user = nix::unistd::geteuid().as_raw();
        let egress = Arc::new(Egress::new(allow, user, audit.clone())?);
        let listener = match listen {
            Listen::At(address) => TcpListener::bind(address).await.map_err(failed(Path::new(&address.to_string())))?,
            Listen::HandedOver => proxy_handed_over().map_err(failed(Path::new("standard output")))?,
        };
        tokio::spawn(egress.run(listener));
    }
    let control = Arc::new(Control::new(gate, audit, environment, options.sockets.clone()));
    if let Some(door) = options.standing.clone() {
        tokio::spawn(Arc::clone(&control).keep_open(door));
    }
    tokio::spawn(control.run(listener));
    if !matches!(options.egress, Some((Listen::HandedOver, _))) {
        announce().map_err(Error::Announce)?;
    }
    either(&mut terminate, &mut interrupt).await;
    Ok(())
}

/// The socket that whoever started the broker listens with: it stays when a broker goes.
fn handed_over() -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The same for the proxy's.
fn proxy_handed_over() -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(io::stdout().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Makes the folder, which all may pass through and nobody else may list, and removes what an earlier broker has left.
fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(control::is_name) {
            control::remove_left_over(&entry.path())?;
        }
    }
    Ok(())
}

fn announce() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ready")?;
    stdout.flush()
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::debug!("SIGTERM: the broker ends"),
        _ = interrupt.recv() => tracing::debug!("SIGINT: the broker ends"),
    }
}
