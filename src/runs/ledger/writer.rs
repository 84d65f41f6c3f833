//! The one thread that writes: what has piled up while it was busy goes into one transaction.

use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{LedgerError, failed};

/// Most changes in one transaction: the first of them waits for the last.
const BATCH: usize = 256;

/// A change: does its part of the transaction and gives what to do once that is committed, or is not.
type Change = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), LedgerError>)>;

/// Hands changes to the thread. It ends with the last of these.
#[derive(Clone)]
pub(super) struct Writer {
    changes: Sender<Change>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection) -> Result<Self, LedgerError> {
        let (changes, inbox) = channel();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || serve(&mut connection, &inbox))
            .map_err(|error| LedgerError::Database { operation: "open", why: error.to_string() })?;
        Ok(Self { changes })
    }

    /// Carries `change` out; returns when it is on the disk. One that fails is rolled back by itself.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (sender, receiver) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            let done = in_savepoint(connection, change).map_err(failed(operation));
            // The client may be gone; what it asked for is done all the same.
            Box::new(move |committed| drop(sender.send(committed.and(done))))
        });
        let closed = || LedgerError::Database { operation, why: "its thread has ended".into() };
        self.changes.send(change).map_err(|_| closed())?;
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT change")?;
    let done = change(connection);
    connection.execute_batch(if done.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" })?;
    done
}

fn serve(connection: &mut Connection, inbox: &Receiver<Change>) {
    while let Ok(first) = inbox.recv() {
        let changes: Vec<Change> = std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)).collect();
        let mut answers = Vec::with_capacity(changes.len());
        let committed = commit(connection, changes, &mut answers).map_err(failed("write to"));
        if let Err(error) = &committed {
            tracing::error!("{error}");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn commit(connection: &mut Connection, changes: Vec<Change>, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for change in changes {
        answers.push(change(&transaction));
    }
    transaction.commit()
}
