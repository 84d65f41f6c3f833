//! The one thread that writes: what has piled up while it was busy goes into one transaction.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::oneshot;

use super::error::failed;
use crate::store::StoreError;

/// Most changes in one transaction: the first of them waits for the last.
const BATCH: usize = 256;

/// Runs inside the open transaction (`None` if it was rolled back); returns the callback for commit or failure.
type Change = Box<dyn FnOnce(Option<&Connection>) -> Callback + Send>;
type Callback = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Hands changes to the thread. It ends with the last of these.
#[derive(Clone)]
pub(super) struct Writer {
    changes: Sender<Change>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection) -> io::Result<Self> {
        let (changes, inbox) = channel();
        std::thread::Builder::new().name("ledger".into()).spawn(move || serve(&mut connection, &inbox))?;
        Ok(Self { changes })
    }

    /// Carries `change` out; returns when it is on the disk. One that fails is rolled back by itself.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            let done = connection.map(|connection| in_savepoint(connection, change).map_err(failed(operation)));
            // The client may be gone; what it asked for is done all the same.
            Box::new(move |committed: Result<(), StoreError>| {
                let not_done = || Err(StoreError::Failed { operation, why: "an earlier change has failed".into() });
                drop(sender.send(committed.and_then(|()| done.unwrap_or_else(not_done))));
            })
        });
        let closed = || StoreError::Failed { operation, why: "its thread has ended".into() };
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

fn commit(connection: &mut Connection, changes: Vec<Change>, answers: &mut Vec<Callback>) -> rusqlite::Result<()> {
    let mut changes = changes.into_iter();
    let result = transact(connection, &mut changes, answers);
    // Whoever's turn did not come is told the same as the others.
    answers.extend(changes.map(|change| change(None)));
    result
}

fn transact(
    connection: &mut Connection,
    changes: &mut impl Iterator<Item = Change>,
    answers: &mut Vec<Callback>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes {
        answers.push(change(Some(&transaction)));
        // A full disk makes SQLite roll everything back by itself. What came next would be committed at once and alone.
        if transaction.is_autocommit() {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None));
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A change with this text, and where its answer goes.
    fn change(answers: &Arc<Mutex<Vec<bool>>>, text: String) -> Change {
        let answers = Arc::clone(answers);
        Box::new(move |connection| {
            let insert = |connection: &Connection| connection.execute("INSERT INTO t VALUES (?1)", [text]);
            let done = connection.is_some_and(|connection| in_savepoint(connection, insert).is_ok());
            Box::new(move |committed| answers.lock().unwrap().push(committed.is_ok() && done))
        })
    }

    #[test]
    fn a_full_disk_undoes_the_whole_batch_and_nobody_is_told_otherwise() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x); PRAGMA max_page_count = 10").unwrap();
        let told = Arc::default();
        let texts = ["before".to_owned(), "x".repeat(100_000), "after".to_owned()];
        let changes = texts.into_iter().map(|text| change(&told, text)).collect();
        let mut answers = Vec::new();
        let committed = commit(&mut connection, changes, &mut answers).map_err(failed("write to"));
        assert!(matches!(committed, Err(StoreError::Full { .. })), "{committed:?}");
        for answer in answers {
            answer(committed.clone());
        }
        assert_eq!(*told.lock().unwrap(), [false; 3]);
        let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
        let mut answers = Vec::new();
        commit(&mut connection, vec![change(&told, "again".to_owned())], &mut answers).unwrap();
        assert_eq!(answers.len(), 1);
    }
}
