//! One client of the local door, from its question to its answer.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::wire::{Answer, LONGEST_ASK, LocalRunEnd, Question, RefusalKind};
use crate::claude::limits::LONGEST_PROMPT_BYTES;
use crate::config::environment::ProcessEnvironment;
use crate::desk;
use crate::runs::engine::{Engine, Submitted};
use crate::runs::events::{Chunk, Events};
use crate::runs::submission::{Origin, SubmitError};
use crate::store::StoreError;
use crate::store::record::{Cancel, DoorName, Request, Requester, Run};

/// Answers a client. Returns when it has its answer or has gone.
pub(super) async fn hold(stream: UnixStream, engine: &Engine, stop: &CancellationToken) {
    let allowed = stream.peer_cred().is_ok_and(|peer| {
        // Who is in another box has no pid here: a folder may be shared with one.
        peer.pid() != Some(0) && may_ask(peer.uid(), nix::unistd::geteuid().as_raw())
    });
    let (reader, writer) = stream.into_split();
    let mut client = Client { reader: BufReader::new(reader), writer };
    let answered = if allowed {
        client.converse(engine, stop).await
    } else {
        let detail = "only root and the user of the servers may use this door".to_owned();
        client.say(&Answer::Refused { detail, because: RefusalKind::Forbidden }).await
    };
    if let Err(error) = answered {
        tracing::debug!("a client of the local door has gone: {error}");
    }
}

/// Root may do everything anyway.
const fn may_ask(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

/// A question that does not become a run: why, and what kind of refusal that is.
type Refused = (String, RefusalKind);

struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// A run whose client listens.
struct Followed<'run> {
    engine: &'run Engine,
    run: Uuid,
    events: Events,
    endings: watch::Receiver<u64>,
    /// What the client was told last.
    ahead: Option<usize>,
}

enum Next {
    Events(io::Result<Option<Chunk>>),
    Places,
    Client(io::Result<usize>),
    Stop,
}

impl Client {
    /// An error is the client's end.
    async fn converse(&mut self, engine: &Engine, stop: &CancellationToken) -> io::Result<()> {
        let asked = tokio::select! {
            asked = self.question() => asked?,
            // It has not asked for anything yet.
            () = stop.cancelled() => Err(refused(&SubmitError::Closed)),
        };
        let submitted = match asked {
            Ok(ask) => submit(engine, ask).await,
            Err(refused) => Err(refused),
        };
        let Submitted { id: run, mut hold, .. } = match submitted {
            Ok(submitted) => submitted,
            Err((detail, because)) => return self.say(&Answer::Refused { detail, because }).await,
        };
        self.say(&Answer::Accepted { run_id: run }).await?;
        let endings = engine.endings();
        let end = match engine.events(run, 0).await {
            Ok(Some(events)) => {
                self.follow(Followed { engine, run, events, endings, ahead: None }, stop).await?;
                engine.wait(run).await
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        hold.release();
        self.say(&last(end)).await
    }

    /// The question, if it is one. It comes whole or not at all.
    async fn question(&mut self) -> io::Result<Result<Question, Refused>> {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST_ASK).unwrap_or(u64::MAX);
        (&mut self.reader).take(most).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return if line.len() < LONGEST_ASK {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(Err((format!("the question is longer than {LONGEST_ASK} bytes"), RefusalKind::Wrong)))
            };
        }
        let asked = serde_json::from_slice(&line);
        Ok(asked.map_err(|error| (format!("the question cannot be understood: {error}"), RefusalKind::Wrong)))
    }

    /// Passes a run's events on until there are no more. What the client says meanwhile cancels the run.
    async fn follow(&mut self, mut run: Followed<'_>, stop: &CancellationToken) -> io::Result<()> {
        let mut told_to_stop = false;
        loop {
            self.tell_place(&mut run).await?;
            let waits = run.events.is_waiting();
            let mut heard = [0; 64];
            let next = tokio::select! {
                biased;
                heard = self.reader.read(&mut heard) => Next::Client(heard),
                chunk = run.events.next() => Next::Events(chunk),
                Ok(()) = run.endings.changed(), if waits => Next::Places,
                () = stop.cancelled(), if waits && !told_to_stop => Next::Stop,
            };
            match next {
                Next::Client(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Next::Client(heard) => {
                    heard?;
                    run.cancel(Cancel::Asked).await;
                }
                Next::Events(Ok(Some(chunk))) => self.pass_on(&chunk).await?,
                Next::Events(Ok(None)) => return Ok(()),
                Next::Events(Err(error)) => {
                    // Its result is in the ledger, and comes all the same.
                    tracing::error!("run {}: its event log cannot be read: {error}", run.run);
                    return Ok(());
                }
                // One that waits would go on waiting, for the next server and for nobody.
                Next::Stop => {
                    told_to_stop = true;
                    run.cancel(Cancel::Shutdown).await;
                }
                Next::Places => {}
            }
        }
    }

    /// Says how many are before the run, if it waits and that is news.
    async fn tell_place(&mut self, run: &mut Followed<'_>) -> io::Result<()> {
        if !run.events.is_waiting() {
            return Ok(());
        }
        let Ok(Some(found)) = run.engine.get(run.run).await else { return Ok(()) };
        match run.engine.ahead(&found) {
            Some(ahead) if run.ahead != Some(ahead) => {
                run.ahead = Some(ahead);
                let running = run.engine.running_in(&found.workspace);
                self.say(&Answer::Waiting { ahead, running }).await
            }
            _ => Ok(()),
        }
    }

    async fn pass_on(&mut self, chunk: &Chunk) -> io::Result<()> {
        let mut lines = Vec::with_capacity(chunk.lines.len() * 5 / 4);
        for event in chunk.lines.split(|&byte| byte == b'\n').filter(|event| !event.is_empty()) {
            lines.extend_from_slice(b"{\"event\":");
            lines.extend_from_slice(event);
            lines.extend_from_slice(b"}\n");
        }
        self.writer.write_all(&lines).await
    }

    async fn say(&mut self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }
}

impl Followed<'_> {
    async fn cancel(&self, why: Cancel) {
        if let Err(error) = self.engine.cancel(self.run, why).await {
            tracing::error!("run {}: it cannot be cancelled: {error}", self.run);
        }
    }
}

async fn submit(engine: &Engine, ask: Question) -> Result<Submitted, Refused> {
    if ask.prompt.trim().is_empty() {
        return Err(("the prompt is empty".into(), RefusalKind::Wrong));
    }
    if ask.prompt.len() > LONGEST_PROMPT_BYTES {
        return Err((format!("the prompt is longer than {LONGEST_PROMPT_BYTES} bytes"), RefusalKind::Wrong));
    }
    let workspace = settle(ask.workspace).await.map_err(|detail| (detail, RefusalKind::Workspace))?;
    let request = Request { options: ask.options, ..Request::new(ask.prompt, ask.format) };
    let run = desk::ask::Ask::new(Origin::unlimited(DoorName::Local, Requester::Local), workspace, request);
    let run = run.busy(ask.busy).variables(ask.variables.beside(&ProcessEnvironment));
    run.submit(engine).await.map_err(|error| refused(&error))
}

/// Where a workspace really is: two names of one folder are one workspace.
async fn settle(asked: PathBuf) -> Result<PathBuf, String> {
    let shown = asked.display().to_string();
    let look_up = move || {
        if !asked.is_absolute() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let real = std::fs::canonicalize(asked)?;
        if real.is_dir() { Ok(real) } else { Err(io::ErrorKind::NotADirectory.into()) }
    };
    let found = tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other).flatten();
    found.map_err(|error| format!("the workspace {shown} cannot be used: {error}"))
}

fn refused(error: &SubmitError) -> Refused {
    match error {
        SubmitError::Busy { .. } => {
            (format!("{error}; wait for its end, or use --busy queue or replace"), RefusalKind::NotNow)
        }
        SubmitError::NotReady(_) => (error.to_string(), RefusalKind::NotReady),
        SubmitError::Ledger(_) => {
            tracing::error!("a run of the local door: {error}");
            (error.to_string(), RefusalKind::Fault)
        }
        _ => (error.to_string(), RefusalKind::NotNow),
    }
}

fn last(run: Result<Option<Run>, StoreError>) -> Answer {
    let end = match run {
        Ok(Some(run)) => run.end.ok_or_else(|| "its end is not in the ledger".to_owned()),
        Ok(None) => Err("the ledger does not have it".into()),
        Err(error) => Err(error.to_string()),
    };
    match end {
        Ok(end) => Answer::End(LocalRunEnd { outcome: end.outcome, complaint: end.error, result: end.result }),
        Err(why) => {
            Answer::Refused { detail: format!("what became of the run is unknown: {why}"), because: RefusalKind::Fault }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 1000, true)]
    #[case(1000, 1000, true)]
    #[case(1001, 1000, false)]
    #[case(1000, 0, false)]
    fn root_and_its_own_user_may_ask(#[case] peer: u32, #[case] own: u32, #[case] may: bool) {
        assert_eq!(may_ask(peer, own), may);
    }

    #[tokio::test]
    async fn a_workspace_is_a_folder_that_is_there_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        std::fs::write(real.join("file"), "").unwrap();
        assert_eq!(settle(real.join("link")).await, Ok(real.clone()));
        for (path, why) in
            [(real.join("file"), "not a directory"), (real.join("none"), "No such file"), ("x".into(), "")]
        {
            let error = settle(path).await.unwrap_err();
            assert!(error.starts_with("the workspace ") && error.contains(why), "{error}");
        }
    }
}
