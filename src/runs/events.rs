//! Reading a run's events while they come.

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use super::live::{Live, Progress};
use super::log::{LogReader, Logs};
use crate::store::record::State;

/// The events of one run, from an offset on.
#[derive(Debug)]
pub struct Events {
    logs: Logs,
    run: Uuid,
    reader: Option<LogReader>,
    offset: u64,
    progress: Option<watch::Receiver<Progress>>,
}

/// Whole lines of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// One JSON object per line.
    pub lines: Bytes,
    /// Where they begin in the log.
    pub offset: u64,
}

impl Events {
    pub(super) fn live(logs: Logs, live: &Live, offset: u64) -> Self {
        Self { logs, run: live.id, reader: None, offset, progress: Some(live.progress.subscribe()) }
    }

    pub(super) const fn ended(logs: Logs, run: Uuid, offset: u64) -> Self {
        Self { logs, run, reader: None, offset, progress: None }
    }

    /// The next events; waits for them. `None`: the run has ended and its log is read.
    ///
    /// Can be dropped and called again.
    pub async fn next(&mut self) -> std::io::Result<Option<Chunk>> {
        loop {
            let (end, ended) = match &mut self.progress {
                None => (u64::MAX, true),
                Some(progress) => {
                    let now = *progress.borrow_and_update();
                    (now.log_bytes, now.ended)
                }
            };
            if self.offset < end
                && let Some(chunk) = self.read(end).await?
            {
                self.offset += chunk.lines.len() as u64;
                return Ok(Some(chunk));
            }
            match &mut self.progress {
                Some(progress) if !ended => {
                    // The run is dropped only after its end.
                    if progress.changed().await.is_err() {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    /// Whether the run waits for its turn.
    pub fn is_waiting(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.borrow().state == State::Queued)
    }

    async fn read(&mut self, end: u64) -> std::io::Result<Option<Chunk>> {
        let (logs, run, offset, reader) = (self.logs.clone(), self.run, self.offset, self.reader.clone());
        let task = tokio::task::spawn_blocking(move || {
            let (reader, offset) = match reader {
                Some(reader) => (Some(reader), offset),
                None => match logs.read(run)? {
                    // A client says where to begin: half an event is none.
                    Some(reader) => (Some(reader.clone()), reader.next_line(offset)?),
                    None => (None, offset),
                },
            };
            let lines = reader.as_ref().map_or_else(|| Ok(Bytes::new()), |reader| reader.lines(offset, end))?;
            Ok::<_, std::io::Error>((reader, lines, offset))
        });
        let (reader, lines, offset) = task.await.map_err(std::io::Error::other)??;
        (self.reader, self.offset) = (reader, offset);
        Ok((!lines.is_empty()).then_some(Chunk { lines, offset }))
    }
}
