//! What [`super::Service`] has done: orders to who carries them out.

use std::time::Duration;

use crate::exit_code::ExitCode;
use crate::process::status::ChildStatus;

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start `serve`, after so many restarts.
    Start(u32),
    /// Let everybody know whether `serve` is ready.
    ShowReady(bool),
    /// Ask `serve` over the link to shut down.
    AskToStop,
    /// Ask `serve` over the link for an answer.
    Ping,
    /// Send a signal to `serve`.
    SignalServe(i32),
    /// Start ending everything that carries the cookie of any run; [`super::Event::RunsEnded`] tells when that is done.
    EndRuns,
    /// That takes too long: give it up.
    AbandonRuns,
    /// Send a signal to every process that is to end with this one.
    SignalEveryone(i32),
    /// Look for children at once: [`super::Event::OthersEnded`] comes in any case.
    Look,
    /// Send [`super::Event::DeadlinePassed`] after this time; replaces an earlier deadline.
    SetDeadline(Duration),
    /// Tell the reader of the log.
    Tell(Notice),
    /// End with this code.
    Finish(ExitCode),
}

/// Something worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// `serve` ended and is started again.
    Restart {
        /// How it ended.
        status: ChildStatus,
        /// How long it had run.
        uptime: Duration,
        /// The restarts since the box's start, this one included.
        restarts: u32,
        /// How long until then.
        delay: Duration,
    },
    /// It has ended so many times in a row.
    KeepsFailing(u32),
    /// It ended in a way that a restart does not mend; the box ends.
    Final(ChildStatus),
    /// A signal stopped it.
    Stopped,
    /// It does not answer.
    Silent,
    /// It answers again.
    Answers,
    /// It is killed, because it has not answered for too long.
    GivenUp,
}
