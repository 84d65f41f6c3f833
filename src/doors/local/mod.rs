//! The local door: a socket in the state folder, for `claudebox run` in the same box.
//!
//! What comes through it is a run like any other: it shares queue, ledger, events and cancel with the other doors. Only
//! root and the user this process has may use it, by the mode of the socket and, should somebody have changed that, by
//! what the kernel says of the client.

mod conversation;
pub mod wire;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::doors::{Door, Serving};
use crate::runs::engine::Engine;

/// Most clients at once; the next one waits to be heard.
const CLIENTS: usize = 256;
/// How long nobody is accepted after the system could not: it is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The open socket. Dropped, it is removed.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens it in `state_dir`, which this process holds the lock of: a socket that is there already is a dead server's.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(wire::SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let door = Self { listener: UnixListener::bind(&path)?, path };
        fs::set_permissions(&door.path, Permissions::from_mode(0o600))?;
        Ok(door)
    }

    /// The door. `asked_for`: the settings ask for it; it is open anyway.
    pub fn door(self, engine: Engine, asked_for: bool) -> Box<dyn Door> {
        Box::new(Local { socket: self, engine, asked_for })
    }

    /// Serves clients until `stop`, and then until each has got its answer, at most for `drain`.
    async fn serve(self, engine: Engine, stop: CancellationToken, drain: Duration) {
        let slots = Arc::new(Semaphore::new(CLIENTS));
        let clients = TaskTracker::new();
        let accept = async {
            loop {
                // The semaphore is never closed.
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let (engine, stop) = (engine.clone(), stop.clone());
                        clients.spawn(async move {
                            let _slot = slot;
                            conversation::hold(stream, &engine, &stop).await;
                        });
                    }
                    Err(error) => {
                        tracing::error!("the local door cannot accept: {error}; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accept).await;
        // Who comes now finds no server, which is the truth.
        drop(self);
        clients.close();
        // Whoever does not read its answer by then goes without.
        let _ = tokio::time::timeout(drain, clients.wait()).await;
    }
}

struct Local {
    socket: Socket,
    engine: Engine,
    asked_for: bool,
}

impl Door for Local {
    fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving {
        Box::pin(async move {
            self.socket.serve(self.engine, stop, grace).await;
            Ok(())
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next server removes it otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_servers_socket_is_replaced_and_the_new_one_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(wire::SOCKET);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
        let door = Socket::open(folder.path()).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_path_too_long_for_a_socket_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        assert_eq!(Socket::open(&long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
