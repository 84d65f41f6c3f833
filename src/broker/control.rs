//! The control socket: a connection is a run. With it the run's own socket comes and goes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::account::{Account, MOST_WAITING};
use super::audit::Audit;
use super::forward::{Gate, Run};
use super::protocol::{Door, FromBroker, Lines, Open, ToBroker, encode};

/// Connections of one run's socket at once; more are closed.
const MOST_CONNECTIONS: usize = 128;
/// Longest head of a request, bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// Pause after an accept that failed: there are no descriptors, which the next try does not change.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Letters of a run's socket's name: 128 bits in hexadecimal.
pub(super) const NAME_LENGTH: usize = 32;

/// The side of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    /// How requests go on. `None`: the broker has no credential.
    gate: Option<Arc<Gate>>,
    audit: Audit,
    /// Where the runs' sockets are.
    folder: PathBuf,
    /// What the gate was made of.
    environment: HashMap<String, OsString>,
    open: Mutex<HashSet<Uuid>>,
}

/// A socket's name in the file system. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a socket could not be removed");
        }
    }
}

/// Listens at `path`, with these permissions. The process's mask keeps everybody out until they are set.
pub(super) fn listen(path: PathBuf, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(&path)?;
    let file = SocketFile(path);
    fs::set_permissions(&file.0, Permissions::from_mode(mode))?;
    Ok((listener, file))
}

/// Removes a socket that an earlier broker has left. Anything else stays.
pub(super) fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(facts) if facts.file_type().is_socket() => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether this is the name of a run's socket.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == NAME_LENGTH && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Control {
    pub(super) fn new(
        gate: Option<Gate>,
        audit: Audit,
        environment: HashMap<String, OsString>,
        folder: PathBuf,
    ) -> Self {
        Self { gate: gate.map(Arc::new), audit, folder, environment, open: Mutex::default() }
    }

    /// Keeps a run open, at this door, for as long as the broker lives.
    pub(super) async fn keep_open(self: Arc<Self>, door: Door) -> io::Result<()> {
        let (mut owner, stream) = UnixStream::pair()?;
        tokio::spawn(self.serve(stream));
        let open = Open { run: Uuid::now_v7(), door: Some(door), ..Open::default() };
        owner.write_all(&encode(&ToBroker::Open(open)).map_err(io::Error::other)?).await?;
        tokio::io::copy(&mut owner, &mut tokio::io::sink()).await.map(drop)
    }

    /// Serves on `listener` for ever.
    pub(super) async fn run(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(Arc::clone(&self).serve(stream))),
                Err(error) => {
                    tracing::warn!(%error, "the broker could not accept a run");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One run, from its first message to the end of its connection.
    async fn serve(self: Arc<Self>, mut stream: UnixStream) {
        let mut lines = Lines::default();
        if let Err(Ended::Refused(why)) = self.follow(&mut stream, &mut lines).await {
            tracing::warn!("a run's connection to the broker was refused: {why}");
            if let Ok(line) = encode(&FromBroker::Refused { why }) {
                // It may be gone.
                let _ = stream.write_all(&line).await;
            }
        }
    }

    async fn follow(&self, stream: &mut UnixStream, lines: &mut Lines) -> Result<Infallible, Ended> {
        let ToBroker::Open(Open { run: id, budget_usd, door, environment }) = next(stream, lines).await? else {
            return Err(Ended::Refused("the first message must be open".into()));
        };
        let budget = budget(budget_usd)?;
        let _entry = self.enter(id)?;
        let gate = self.gate_in(environment)?;
        let failed = |error: io::Error| Ended::Refused(format!("the run's socket cannot be made: {error}"));
        let Door { socket, stand_in } = match door {
            Some(door) if is_name(&door.socket) && !door.stand_in.is_empty() => door,
            Some(_) => return Err(Ended::Refused("that is no name of a run's socket, or no stand-in".into())),
            None => Door::new().map_err(failed)?,
        };
        let path = self.folder.join(socket);
        let (listener, _file) = listen(path.clone(), 0o666).map_err(failed)?;
        let (owner, mut told) = mpsc::channel(MOST_WAITING);
        let ended = CancellationToken::new();
        let _guard = ended.clone().drop_guard();
        let credential = gate.credential.kind();
        let run = Arc::new(Run::new(id, gate, Account::new(budget, owner), stand_in.clone(), ended));
        tokio::spawn(accept(Arc::clone(&run), listener));
        send(stream, &FromBroker::Opened { socket: path, credential, stand_in }).await?;
        loop {
            tokio::select! {
                message = next(stream, lines) => match message? {
                    ToBroker::Budget { usd } => run.account.set_budget(self::budget(usd)?),
                    ToBroker::Open(_) => return Err(Ended::Refused("this connection has its run".into())),
                },
                Some(message) = told.recv() => send(stream, &message).await?,
            }
        }
    }

    /// How the requests of a run go on that has these variables.
    fn gate_in(&self, environment: BTreeMap<String, Option<String>>) -> Result<Arc<Gate>, Ended> {
        if let Some(gate) = self.gate.as_ref().filter(|_| environment.is_empty()) {
            return Ok(Arc::clone(gate));
        }
        let mut env = self.environment.clone();
        for (name, value) in environment {
            match value {
                Some(value) => env.insert(name, value.into()),
                None => env.remove(&name),
            };
        }
        let gate = Gate::of(&env, self.audit.clone()).map_err(|error| Ended::Refused(error.to_string()))?;
        Ok(Arc::new(gate))
    }

    fn enter(&self, run: Uuid) -> Result<Entry<'_>, Ended> {
        if !self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(run) {
            return Err(Ended::Refused(format!("run {run} is open already")));
        }
        Ok(Entry { control: self, run })
    }
}

/// Why a run's connection is over.
enum Ended {
    /// The other end has closed it, or it broke.
    Closed,
    /// What it said cannot be carried out.
    Refused(String),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// A run among those that are open.
struct Entry<'control> {
    control: &'control Control,
    run: Uuid,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.control.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

fn budget(usd: Option<f64>) -> Result<Option<f64>, Ended> {
    match usd {
        Some(usd) if !usd.is_finite() || usd < 0.0 => {
            Err(Ended::Refused(format!("a budget of {usd} USD: it must be a number of at least 0, or null")))
        }
        usd => Ok(usd),
    }
}

/// The next message. Cancel-safe: what has come of a line stays in `lines`.
async fn next(stream: &mut UnixStream, lines: &mut Lines) -> Result<ToBroker, Ended> {
    let mut bytes = [0; 4096];
    loop {
        let line = lines.take_line().map_err(|error| Ended::Refused(error.to_string()))?;
        if let Some(line) = line {
            return serde_json::from_slice(&line)
                .map_err(|error| Ended::Refused(format!("an unreadable message: {error}")));
        }
        match stream.read(&mut bytes).await? {
            0 => return Err(Ended::Closed),
            length => lines.push(&bytes[..length]),
        }
    }
}

async fn send(stream: &mut UnixStream, message: &FromBroker) -> Result<(), Ended> {
    let line = encode(message).map_err(io::Error::other)?;
    Ok(stream.write_all(&line).await?)
}

/// Takes the run's connections until it has ended.
async fn accept(run: Arc<Run>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = run.ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a run's socket could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let run = Arc::clone(&run);
            tokio::spawn(async move {
                serve(run, stream).await;
                drop(place);
            });
        }
    }
}

async fn serve(run: Arc<Run>, stream: UnixStream) {
    let service = service_fn(|request| Arc::clone(&run).answer(request));
    let connection = http1::Builder::new().max_buf_size(LONGEST_HEAD).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = run.ended.cancelled() => {}
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection of a run ended");
        }
    }
}
