//! Ending what a run leaves: with PID 1's help, or alone.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::init::leftovers::{self, Scope};
use crate::process::link::{Link, Message};
use crate::runs::child::{EndTree, StartWorker};

/// How long PID 1 may take to start a worker. It does nothing that takes longer.
const START: Duration = Duration::from_secs(5);
/// How long PID 1 may take to end what belongs to a run.
const END_TREE: Duration = Duration::from_secs(5);

/// PID 1, which ends what this process may not.
#[derive(Clone)]
pub(super) struct Helper {
    link: Arc<Link>,
    waiting: Waiting,
    starting: Starting,
}

/// Who waits for which worker: its pid, and a descriptor of the process; `None` if there will be none.
type Starting = Arc<Mutex<HashMap<u64, mpsc::Sender<Option<(i32, OwnedFd)>>>>>;

/// Who waits for which run's end.
type Waiting = Arc<Mutex<HashMap<String, Vec<oneshot::Sender<u64>>>>>;

impl Helper {
    /// Listens to PID 1 on a thread: a message is rare, and a blocking read the simplest way to wait for one.
    /// What PID 1 says of the CLI goes into `cli`.
    pub(super) fn listen(
        link: Arc<Link>,
        stop: CancellationToken,
        why: Arc<OnceLock<String>>,
        cli: watch::Sender<Option<String>>,
    ) -> io::Result<Self> {
        let (waiting, starts) = (Waiting::default(), Starting::default());
        let (socket, listeners, starting) = (Arc::clone(&link), Arc::clone(&waiting), Arc::clone(&starts));
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("link".into()).spawn(move || {
            let deaf = |what: String| {
                let _ = why.set(what);
                stop.cancel();
            };
            loop {
                match socket.receive() {
                    Ok(Some((Message::Ended { run, count }, _))) => {
                        let mut waiting = listeners.lock().unwrap_or_else(PoisonError::into_inner);
                        for listener in waiting.remove(run.as_str()).into_iter().flatten() {
                            // It has stopped waiting.
                            let _ = listener.send(count as u64);
                        }
                    }
                    Ok(Some((Message::Ping, _))) => {
                        let link = Arc::clone(&socket);
                        // The runtime answers, not this thread: what hangs is silent. So is a link that is full.
                        runtime.spawn(async move { drop(link.try_send(&Message::Pong)) });
                    }
                    Ok(Some((Message::Cli(state), _))) => {
                        cli.send_replace(state);
                    }
                    Ok(Some((Message::Started { number, worker }, descriptors))) => {
                        answer(&starting, number, descriptors.into_iter().next().map(|process| (worker, process)));
                    }
                    Ok(Some((Message::NotStarted { number }, _))) => answer(&starting, number, None),
                    Ok(Some((Message::Stop, _))) => break stop.cancel(),
                    // What this side says.
                    Ok(Some(_)) => {}
                    // Not asked to end: should PID 1 live, it starts another.
                    Ok(None) => break deaf("PID 1 does not hear this server any more".into()),
                    Err(error) => break deaf(format!("the link to PID 1: {error}")),
                }
            }
        })?;
        Ok(Self { link, waiting, starting: starts })
    }

    pub(super) fn end_tree(self) -> EndTree {
        Arc::new(move |run, worker| {
            let helper = self.clone();
            Box::pin(async move { helper.end(run, worker).await })
        })
    }

    /// Has PID 1 start workers.
    pub(super) fn start_worker(self) -> StartWorker {
        let last = AtomicU64::new(0);
        Arc::new(move |stdin, stdout| {
            let number = last.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = mpsc::channel();
            let starting = || self.starting.lock().unwrap_or_else(PoisonError::into_inner);
            starting().insert(number, sender);
            let asked = self.link.try_send_with(&Message::Start { number }, &[stdin, stdout]);
            let started = asked.map(|()| receiver.recv_timeout(START).ok().flatten());
            starting().remove(&number);
            started?.ok_or_else(|| io::Error::other("PID 1 does not start it"))
        })
    }

    fn wait_for(&self, run: Uuid, sender: oneshot::Sender<u64>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(run.to_string()).or_default().push(sender);
    }

    async fn end(&self, run: Uuid, worker: Option<u32>) -> u64 {
        let Ok(id) = run.to_string().parse() else { return 0 };
        let (sender, receiver) = oneshot::channel();
        self.wait_for(run, sender);
        let worker = worker.and_then(|pid| i32::try_from(pid).ok());
        if let Err(error) = self.link.try_send(&Message::End { run: id, worker }) {
            tracing::error!("run {run}: PID 1 cannot be asked to end what it left: {error}");
            return 0;
        }
        if let Ok(Ok(count)) = tokio::time::timeout(END_TREE, receiver).await {
            count
        } else {
            tracing::error!("run {run}: PID 1 does not say whether it ended what it left");
            0
        }
    }
}

fn answer(starting: &Starting, number: u64, started: Option<(i32, OwnedFd)>) {
    let sender = starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    // Who asked may have given up; the worker ends with its pipes.
    let _ = sender.map(|sender| sender.send(started));
}

/// Without PID 1's help: what belongs to this user is found and ended all the same.
pub(super) fn alone() -> EndTree {
    Arc::new(|run, worker| {
        let end: Pin<Box<dyn Future<Output = u64> + Send>> = Box::pin(async move {
            let Ok(id) = run.to_string().parse() else { return 0 };
            let own = i32::try_from(std::process::id()).ok();
            let worker = worker.and_then(|pid| i32::try_from(pid).ok());
            // Orphans belong to whoever is process 1, so that is where it is looked.
            let scope = Scope { supervisor: 1, serve: own, workers: Vec::new(), run: Some(id), worker };
            match tokio::task::spawn_blocking(move || leftovers::end(&scope)).await {
                Ok(Ok(count)) => count as u64,
                Ok(Err(error)) => {
                    tracing::error!("run {run}: what it left cannot be ended: {error}");
                    0
                }
                Err(_) => 0,
            }
        });
        end
    })
}
