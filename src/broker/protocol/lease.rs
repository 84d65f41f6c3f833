//! A run's hold on the broker, for a process of one thread.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CredentialKind, Door, FromBroker, Lines, Open, ToBroker, TooLong, encode};

/// A run that is open at the broker. Dropped, it is over: its socket is gone and what runs through it is cut.
#[derive(Debug)]
pub struct Lease {
    control: PathBuf,
    open: Open,
    stream: UnixStream,
    lines: Lines,
    socket: PathBuf,
    credential: CredentialKind,
    stand_in: String,
    /// What the run has cost at brokers that have gone, US dollars.
    before: f64,
    /// What it has cost at this one.
    cost: f64,
}

/// Why a run has no broker, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Nobody listens there, or the connection broke.
    #[error("the broker at {path} cannot be reached: {source}")]
    Unreachable {
        /// Its control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("the broker did not answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// It has gone; so has the run's socket.
    #[error("the broker has closed the run's connection")]
    Closed,
    /// It refused what it was asked.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// A message that is none.
    #[error("the broker sent an unreadable message: {0}")]
    Unreadable(String),
    /// The connection broke.
    #[error("the broker's connection failed: {0}")]
    Io(#[from] io::Error),
}

impl From<TooLong> for LeaseError {
    fn from(error: TooLong) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Lease {
    /// Opens a run at the broker whose control socket is `control`; waits for its answer, at most `timeout`.
    pub fn open(control: &Path, open: Open, timeout: Duration) -> Result<Self, LeaseError> {
        let deadline = Instant::now() + timeout;
        let mut stream = ask(control, &open)?;
        let mut lines = Lines::default();
        let first = loop {
            if let Some(line) = lines.take_line()? {
                break read(&line)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LeaseError::Silent(timeout));
            }
            stream.set_read_timeout(Some(left))?;
            match receive(&mut stream, &mut lines) {
                Ok(true) => {}
                Ok(false) => return Err(LeaseError::Closed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        };
        match first {
            FromBroker::Opened { socket, credential, stand_in } => {
                stream.set_nonblocking(true)?;
                let control = control.to_owned();
                Ok(Self { control, open, stream, lines, socket, credential, stand_in, before: 0.0, cost: 0.0 })
            }
            FromBroker::Refused { why } => Err(LeaseError::Refused(why)),
            other => Err(LeaseError::Unreadable(format!("{other:?} is no answer"))),
        }
    }

    /// What `ANTHROPIC_UNIX_SOCKET` of the CLI has to be.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Changes to the environment of the run's CLI.
    pub fn environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        super::environment(&self.socket, self.credential, &self.stand_in)
    }

    /// What the CLI has in place of the credential.
    pub fn stand_in(&self) -> &str {
        &self.stand_in
    }

    /// Which kind of stand-in the CLI must have.
    pub const fn credential(&self) -> CredentialKind {
        self.credential
    }

    /// What the run has cost so far, US dollars.
    pub const fn cost_usd(&self) -> f64 {
        self.before + self.cost
    }

    /// Opens the run anew, at the same socket, where the broker has gone and another one takes its place; does not wait for
    /// its answer. What the CLI asks meanwhile fails, and is asked again by the CLI.
    pub fn renew(&mut self) -> Result<(), LeaseError> {
        (self.before, self.cost) = (self.before + self.cost, 0.0);
        let socket = self.socket.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let door = Some(Door { socket, stand_in: self.stand_in.clone() });
        let budget_usd = self.open.budget_usd.map(|usd| (usd - self.before).max(0.0));
        let open = Open { budget_usd, door, ..self.open.clone() };
        self.lines = Lines::default();
        self.stream = ask(&self.control, &open)?;
        Ok(self.stream.set_nonblocking(true)?)
    }

    /// The next message, without waiting. `None`: none is there; poll the descriptor.
    pub fn next_message(&mut self) -> Result<Option<FromBroker>, LeaseError> {
        loop {
            if let Some(line) = self.lines.take_line()? {
                match read(&line)? {
                    // Another broker has the run now.
                    FromBroker::Opened { .. } => continue,
                    FromBroker::Refused { why } => return Err(LeaseError::Refused(why)),
                    FromBroker::Usage(usage) => {
                        self.cost = self.cost.max(usage.cost_usd);
                        return Ok(Some(FromBroker::Usage(usage)));
                    }
                    message => return Ok(Some(message)),
                }
            }
            match receive(&mut self.stream, &mut self.lines) {
                Ok(true) => {}
                Ok(false) => return Err(LeaseError::Closed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the run another budget, US dollars.
    pub fn set_budget(&mut self, usd: Option<f64>) -> Result<(), LeaseError> {
        self.open.budget_usd = usd;
        let usd = usd.map(|usd| (usd - self.before).max(0.0));
        Ok(self.stream.write_all(&line(&ToBroker::Budget { usd })?)?)
    }
}

/// Readable when a message is there, or the broker has gone.
impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn ask(control: &Path, open: &Open) -> Result<UnixStream, LeaseError> {
    let unreachable = |source| LeaseError::Unreachable { path: control.to_owned(), source };
    let mut stream = UnixStream::connect(control).map_err(unreachable)?;
    stream.write_all(&line(&ToBroker::Open(open.clone()))?).map_err(unreachable)?;
    Ok(stream)
}

fn line(message: &ToBroker) -> Result<Vec<u8>, LeaseError> {
    encode(message).map_err(|error| LeaseError::Io(io::Error::other(error)))
}

fn read(line: &[u8]) -> Result<FromBroker, LeaseError> {
    serde_json::from_slice(line).map_err(|error| LeaseError::Unreadable(error.to_string()))
}

/// `false`: the other end has closed.
fn receive(stream: &mut UnixStream, lines: &mut Lines) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                lines.push(&bytes[..length]);
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A broker that answers `said` to the first line, and then closes.
    fn opened(said: &'static str) -> Result<Lease, LeaseError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let broker = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = Lines::default();
            while lines.take_line().unwrap().is_none() {
                receive(&mut stream, &mut lines).unwrap();
            }
            stream.write_all(said.as_bytes()).unwrap();
        });
        let lease = Lease::open(&path, Open::default(), Duration::from_secs(20));
        broker.join().unwrap();
        lease
    }

    #[test]
    fn messages_come_one_by_one_and_the_end_is_an_error() {
        let said = "{\"opened\":{\"socket\":\"/s\",\"credential\":\"apiKey\",\"standIn\":\"x\"}}\n{\"overBudget\":{\"costUsd\":2,\"budgetUsd\":1}}\n";
        let mut lease = opened(said).unwrap();
        assert_eq!((lease.socket(), lease.credential()), (Path::new("/s"), CredentialKind::ApiKey));
        let message = lease.next_message().unwrap().unwrap();
        assert_eq!(message, FromBroker::OverBudget { cost_usd: 2.0, budget_usd: 1.0 });
        assert!(matches!(lease.next_message(), Err(LeaseError::Closed)));
    }

    #[test]
    fn a_refusal_is_told() {
        assert!(matches!(opened("{\"refused\":{\"why\":\"no\"}}\n"), Err(LeaseError::Refused(why)) if why == "no"));
        assert!(matches!(opened("nonsense\n"), Err(LeaseError::Unreadable(_))));
        assert!(matches!(opened(""), Err(LeaseError::Closed)));
    }

    #[test]
    fn a_silent_broker_is_waited_for_no_longer_than_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let _listener = UnixListener::bind(&path).unwrap();
        let lease = Lease::open(&path, Open::default(), Duration::from_millis(20));
        assert!(matches!(lease, Err(LeaseError::Silent(_))));
    }
}
