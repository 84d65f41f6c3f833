//! A run from a terminal or a script: prompt in, answer out, exit code.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::finished::{Finished, end_of};
use super::output::{Audience, Printer};
use super::process::{self, Launch, Peer, Verdict};
use crate::broker::protocol::{self, Lease, LeaseError, Open};
use crate::claude::arguments::{self, FromDoor, Options, OutputFormat, Session};
use crate::claude::event::{Event, Kind};
use crate::claude::outcome::{Intervention, Outcome};
use crate::claude::prompt_files::PromptFiles;
use crate::claude::schema::Schema;
use crate::claude::sessions::{Opened, Sessions};
use crate::claude::transcript::{Rest, Transcript};
use crate::config::call::Variables;
use crate::config::{name, offline};
use crate::privilege::files;
use crate::privilege::walls::Walls;
use crate::process::events::Signals;

/// The broker answers within a millisecond; one that has gone is started again within a second.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);
/// The API refusing the credentials this often ends the run. The CLI alone tries for three minutes.
const AUTH_ATTEMPTS: u64 = 2;
/// How much of a line that is no event goes into the log.
const LOGGED_LINE_CHARS: usize = 200;

/// A run to carry out.
#[derive(Debug, Clone)]
pub struct OneShot {
    /// Its id, which its processes carry in their environment.
    pub run_id: Uuid,
    /// The CLI: a path, or a name on PATH.
    pub claude_bin: String,
    /// The prompt.
    pub prompt: String,
    /// Options.
    pub options: Options,
    /// What its door says besides.
    pub from_door: FromDoor,
    /// Where the CLI works.
    pub workspace: PathBuf,
    /// The session to go on with.
    pub opened: Opened,
    /// Where sessions are.
    pub sessions: Sessions,
    /// File with the standing instructions.
    pub standing: Option<PathBuf>,
    /// Longest the CLI may say nothing while no tool of it runs.
    pub silence: Option<Duration>,
    /// How long background shells and wake-ups may go on after the answer.
    pub background: Duration,
    /// Most memory that the run may take, bytes.
    pub memory: Option<u64>,
    /// The CLI's settings of the command line.
    pub settings: String,
    /// Where the broker opens runs, if it is to stand in the API's place.
    pub broker: Option<PathBuf>,
    /// Whether the offline model answers.
    pub offline: bool,
    /// Variables of its environment that are its own.
    pub variables: Variables,
    /// What stands around the CLI.
    pub walls: Walls,
    /// What its environment has for that.
    pub behind_walls: Vec<(String, Option<OsString>)>,
}

/// Carries `request` out and prints it to `out`; what a person who waits should know meanwhile goes to standard error, if it
/// `is_watched`.
///
/// This process must be a child subreaper with all signals blocked.
pub fn print(
    request: &OneShot,
    format: OutputFormat,
    is_watched: bool,
    signals: &Signals,
    out: impl io::Write,
) -> io::Result<Finished> {
    let mut printer = Printer::new(out, format, is_watched);
    let finished = run(request, signals, None, &mut printer)?;
    request.sessions.settle(&request.opened.choice, &finished.was());
    // Whoever learns that the run has ended may go on with its session.
    request.opened.release();
    // Nobody reads any more: that is the reader's choice and already part of the outcome.
    if let Err(error) = printer.finish(&finished.ending(format))
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error);
    }
    Ok(finished)
}

/// Carries `request` out and tells `audience` of its events; `control` can end it. Its session is the caller's to settle
/// and to release.
///
/// This process must be a child subreaper with all signals blocked.
pub fn run(
    request: &OneShot,
    signals: &Signals,
    control: Peer<'_>,
    audience: &mut impl Audience,
) -> io::Result<Finished> {
    let deadline = request.options.timeout.map(|timeout| Instant::now() + timeout);
    let session = &request.opened.choice.session;
    let broker = request.lease().map_err(io::Error::other)?;
    let mut attempt = Attempt { request, deadline, signals, control, broker };
    let mut finished = attempt.carry_out(session, audience)?;
    // The session found for the workspace may have been deleted since. One that the user named is not replaced.
    if finished.outcome == Outcome::SessionNotFound && session.is_replaceable() {
        audience.forget();
        finished = attempt.carry_out(&Session::Fresh, audience)?;
    }
    Ok(finished)
}

struct Attempt<'run> {
    request: &'run OneShot,
    deadline: Option<Instant>,
    signals: &'run Signals,
    control: Peer<'run>,
    broker: Option<Lease>,
}

impl OneShot {
    /// The run, opened at the broker.
    fn lease(&self) -> Result<Option<Lease>, LeaseError> {
        let Some(control) = self.broker.as_ref().filter(|_| !self.has_another_api()) else { return Ok(None) };
        let is_asked = |(name, _): &(&str, Option<&str>)| protocol::VARIABLES.contains(name);
        let own = self.variables.each().filter(is_asked);
        let open = Open {
            run: self.run_id,
            budget_usd: self.options.max_budget_usd,
            environment: own.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect(),
            ..Open::default()
        };
        files::as_self(|| Lease::open(control, open, BROKER_TIMEOUT)).map(Some)
    }

    /// Whether the call has brought along what leads to an API that the broker does not speak to.
    fn has_another_api(&self) -> bool {
        self.variables.each().any(|(name, value)| offline::PROVIDERS.contains(&name) && value.is_some())
    }
}

impl Attempt<'_> {
    fn carry_out(&mut self, session: &Session, audience: &mut impl Audience) -> io::Result<Finished> {
        let Self { request, deadline, signals, .. } = *self;
        let run_id = request.run_id;
        let mut command = vec![request.claude_bin.clone().into()];
        let (mut options, standing) = (request.options.clone(), request.standing.as_deref());
        let files = PromptFiles::write(&mut options, standing, &request.sessions.state_dir, run_id)?;
        command.extend(arguments::one_shot(&options, session, files.append(standing), &request.settings));
        command.extend(files.arguments());
        let tools = request.sessions.config_dir.join("bin");
        let own = request.variables.each().map(|(name, value)| match (name, value) {
            // The user's own scripts come first, as for everybody in the box.
            ("PATH", Some(path)) => (name, Some(format!("{}:{path}", tools.display()))),
            (name, value) => (name, value.map(str::to_owned)),
        });
        let mut environment: Vec<(String, Option<OsString>)> =
            own.map(|(name, value)| (name.into(), value.map(Into::into))).collect();
        environment.extend(request.behind_walls.iter().cloned());
        environment.extend([
            (name::RUN_ID.into(), Some(run_id.to_string().into())),
            // Says when nothing is left to do.
            ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS".into(), Some("1".into())),
        ]);
        if let Some(lease) = &self.broker {
            let leading = lease.environment();
            environment.retain(|(name, _)| leading.iter().all(|(leading, _)| name != leading));
            environment.extend(leading.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        let mut walls = request.walls.clone();
        if let Some(fence) = &mut walls.fence {
            fence.shown.extend(files.paths().chain(standing).map(Path::to_owned));
        }
        let launch = Launch {
            command,
            workspace: request.workspace.clone(),
            environment,
            input: request.from_door.input(&request.prompt),
            deadline,
            silence: request.silence,
            background: request.background,
            memory: request.memory,
            walls,
        };
        tracing::debug!("run {run_id}: {:?} in {}", session, request.workspace.display());
        let schema = request.options.json_schema.as_deref().and_then(|schema| Schema::parse(schema).ok());
        let mut listener = Listener { transcript: Transcript::default(), schema, audience, held: None };
        let ended = process::run(signals, self.control.as_deref_mut(), self.broker.as_mut(), &launch, &mut listener)?;
        listener.release();
        let schema = request.options.json_schema.is_some();
        let transcript = listener.transcript;
        let outcome = transcript.outcome(&end_of(&ended, schema));
        let (workspace, offline) = (request.workspace.clone(), request.offline);
        let cost_usd = self.broker.as_mut().map(|lease| {
            // What the last answer has cost is said at its end.
            while let Ok(Some(_)) = lease.next_message() {}
            lease.cost_usd()
        });
        Ok(Finished { run_id, workspace, transcript, ended, outcome, offline, cost_usd, schema })
    }
}

/// Reads the CLI's lines as events, into a transcript and to an audience.
struct Listener<'run, A> {
    transcript: Transcript,
    schema: Option<Schema>,
    audience: &'run mut A,
    /// The newest result. The audience hears of it as the result once no other one can follow.
    held: Option<Event>,
}

impl<A: Audience> Listener<'_, A> {
    /// Tells the audience of `event`, results excepted.
    fn tell(&mut self, event: Event) -> io::Result<()> {
        match event.kind() {
            Kind::Result => match self.held.replace(event) {
                Some(earlier) => self.audience.event(&earlier.interim()),
                None => Ok(()),
            },
            // Asked for by us, for us.
            Kind::System("session_state_changed") => Ok(()),
            _ => self.audience.event(&event),
        }
    }

    /// Tells the audience of the result. An interim one is said to be that.
    fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        let result = self.transcript.result().map_or_else(|| held.interim(), Event::of_result);
        // A client that goes away now has its answer in the ledger.
        let _ = self.audience.event(&result);
    }
}

impl<A: Audience> process::LineReader for Listener<'_, A> {
    fn line(&mut self, line: &[u8]) -> Verdict {
        if line.trim_ascii().is_empty() {
            return Verdict::Continue;
        }
        let mut event = match Event::parse(line) {
            Ok(event) => event,
            Err(error) => {
                self.transcript.add_malformed();
                let start: String = String::from_utf8_lossy(line).chars().take(LOGGED_LINE_CHARS).collect();
                tracing::warn!("the CLI printed a line that is no event ({error}): {start}");
                return Verdict::Continue;
            }
        };
        if let (Some(schema), Kind::Result) = (&self.schema, event.kind()) {
            schema.settle(event.json_mut());
        }
        self.transcript.add(&event);
        let refused = matches!(event.kind(), Kind::ApiRetry { attempt: AUTH_ATTEMPTS.., status: Some(401 | 403) });
        let told = self.tell(event);
        if self.transcript.is_over() {
            self.release();
        }
        match told {
            // A client that goes away ends its run.
            Err(_) => Verdict::Stop(Intervention::Cancelled(libc::SIGPIPE)),
            Ok(()) if refused => Verdict::Stop(Intervention::AuthRefused),
            Ok(()) => Verdict::Continue,
        }
    }

    fn dropped(&mut self, bytes: usize) {
        self.transcript.add_dropped();
        tracing::warn!("an event of the CLI has {bytes} bytes, more than is read of one: it is left out");
    }

    fn waits_for_a_tool(&self) -> bool {
        self.transcript.waits_for_a_tool()
    }

    fn rest(&self) -> Rest {
        self.transcript.rest()
    }

    fn cut(&mut self) {
        self.transcript.note_cut();
    }

    fn stuck(&mut self) {
        self.audience.stuck();
    }
}
