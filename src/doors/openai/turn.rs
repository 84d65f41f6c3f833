//! One request as a run: submitted, followed, and remembered by what the client will send next.

use axum::Extension;
use serde_json::{Value, json};
use uuid::Uuid;

use super::conversation::{Conversation, Digest, Told};
use super::deltas::{Delta, Reader};
use super::error;
use super::headers::{Headers, Progress};
use super::material;
use super::message::{Message, invalid};
use super::models;
use crate::claude::arguments::{Effort, Options, OutputFormat};
use crate::doors::http::app::App;
use crate::doors::http::auth::Caller;
use crate::doors::http::problem::Problem;
use crate::doors::http::runs::{ledger_failed, refused, unknown};
use crate::doors::http::server::Stopping;
use crate::runs::events::Events;
use crate::runs::ledger::{LedgerError, Note};
use crate::runs::run::{NewRun, Origin, Request, Run, State, now};
use crate::runs::submission::Hold;

/// The name of this door.
pub(super) const DOOR: &str = "openai";
/// How long a conversation is recognised.
const REMEMBERED_MS: i64 = 30 * 86_400_000;

/// What a request asks for, whichever protocol it came in.
pub(super) struct Wish {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// What the messages are called in the protocol.
    pub(super) field: &'static str,
    /// JSON Schema of the answer.
    pub(super) schema: Option<String>,
    pub(super) effort: Option<Effort>,
    pub(super) stream: bool,
    /// The run whose session this one goes on with.
    pub(super) previous: Option<Run>,
    /// Whether a later request may name this one as its previous.
    pub(super) store: bool,
}

/// A run that can be started.
pub(super) struct Turn {
    app: App,
    new: NewRun,
    /// What is asked in a fresh session if the one to go on with is gone.
    replay: Option<Request>,
    memory: Memory,
    /// The model's name, as the client has it.
    pub(super) model: String,
    /// How thinking and tools show.
    pub(super) progress: Progress,
    schema: bool,
    stopping: Option<Stopping>,
}

/// What a finished run is remembered by.
struct Memory {
    /// The conversation up to the answer, if it is to be recognised.
    conversation: Option<Digest>,
    store: bool,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) run: Run,
    pub(super) text: String,
}

impl Answer {
    /// Of a run that has one: its last message, or the object that its schema asks for.
    pub(super) fn of(run: Run) -> Self {
        let result = run.end.as_ref().map_or(&Value::Null, |end| &end.result);
        let text = if run.request.options.json_schema.is_some() {
            result["structuredOutput"].to_string()
        } else {
            result["result"].as_str().unwrap_or_default().to_owned()
        };
        Self { run, text }
    }

    /// The CLI's result.
    pub(super) fn result(&self) -> &Value {
        self.run.end.as_ref().map_or(&Value::Null, |end| &end.result)
    }

    /// What stands beside the protocol's own fields.
    pub(super) fn about(&self) -> Value {
        let end = self.run.end.as_ref();
        json!({
            "run_id": self.run.id, "session_id": end.and_then(|end| end.session_id.clone()),
            "cost_usd": end.and_then(|end| end.cost_usd),
        })
    }
}

impl Turn {
    pub(super) async fn new(
        app: App,
        caller: &Caller,
        headers: Headers,
        wish: Wish,
        stopping: Option<Extension<Stopping>>,
    ) -> Result<Self, Problem> {
        let model = models::asked(&wish.model)?;
        let conversation = Conversation::new(wish.messages, wish.field)?;
        let name = match &wish.previous {
            Some(run) if headers.workspace.is_empty() => run.workspace.to_string_lossy().into_owned(),
            _ => headers.workspace.clone(),
        };
        let workspace = app.workspace(caller, name, headers.create_workspace).await.map_err(|problem| {
            let detail = problem
                .detail()
                .replace("set createWorkspace to have it made", "send X-Claude-Create-Workspace: 1 to have it made");
            problem.saying(detail)
        })?;
        let newest = material::prepare(&app.fetcher, &conversation.newest).await?;
        let scope = [workspace.path.to_string_lossy().into_owned(), caller.name.clone()];
        let digest = Digest::new(&scope.each_ref().map(String::as_str), conversation.system.as_deref())
            .messages(&conversation.history);
        let options = Options {
            model,
            system_prompt: conversation.system.clone(),
            append_system_prompt: headers.append_system_prompt,
            json_schema: wish.schema.clone(),
            effort: wish.effort,
            no_continue: !headers.go_on,
            include_partial_messages: wish.stream,
            ..Options::default()
        };
        let session = match (&headers.session, &wish.previous) {
            (Some(id), _) => Some((id.clone(), false)),
            (None, Some(run)) => Some((of_previous(&app, run).await?, false)),
            (None, None) if headers.go_on && !conversation.history.is_empty() => {
                recognised(&app, &digest.clone().text()).await?.map(|id| (id, true))
            }
            (None, None) => None,
        };
        let history = match session {
            Some((_, false)) => Vec::new(),
            _ => material::prepare(&app.fetcher, &conversation.history).await?,
        };
        // A conversation told whole is none that the workspace's last session has begun.
        let no_continue = options.no_continue || !conversation.history.is_empty();
        let whole = request(Options { no_continue, ..options.clone() }, conversation.tell(Some(&history), &newest));
        let (request, replay) = match session {
            Some((id, may_be_gone)) => {
                let resumed = Options { resume: Some(id), ..options };
                (request(resumed, conversation.tell(None, &newest)), may_be_gone.then_some(whole))
            }
            None => (whole, None),
        };
        let origin = Origin { door: DOOR, requester: caller.name.clone(), cost_per_day: caller.cost_per_day };
        let new = NewRun {
            origin,
            workspace: workspace.path,
            request,
            busy: headers.busy,
            idempotency_key: None,
            webhook_url: None,
            stays: false,
        };
        let conversation = headers.go_on.then(|| digest.messages(&conversation.newest));
        Ok(Self {
            app,
            new,
            replay,
            memory: Memory { conversation, store: wish.store },
            model: if wish.model.is_empty() { "default".into() } else { wish.model },
            progress: headers.progress,
            schema: wish.schema.is_some(),
            stopping: stopping.map(|Extension(stopping)| stopping),
        })
    }

    async fn submit(&self) -> Result<(Uuid, Hold), Problem> {
        let submitted = self.app.engine.submit(self.new.clone()).await.map_err(|error| {
            let problem = refused(error);
            let detail =
                problem.detail().replace("set busy to queue or replace", "send X-Claude-Busy: queue or replace");
            problem.saying(detail)
        })?;
        Ok((submitted.id, submitted.hold))
    }

    /// Replaces what is asked by the whole conversation, if the run has ended because its session was gone.
    fn again(&mut self, run: &Run) -> bool {
        let gone = run.end.as_ref().and_then(|end| end.outcome.as_deref()) == Some("session_not_found");
        match self.replay.take_if(|_| gone) {
            Some(replay) => {
                self.new.request = replay;
                true
            }
            None => false,
        }
    }

    /// The answer, once it is there.
    pub(super) async fn answer(mut self) -> Result<Answer, Problem> {
        loop {
            let (id, mut hold) = self.submit().await?;
            let ended = self.app.wait_or_stop(id, self.stopping.clone().map(Extension)).await;
            // Also where there is no result: who is told that the run waits for the next server has not gone away.
            hold.release();
            let run = ended?;
            if self.again(&run) {
                continue;
            }
            return self.conclude(run, None).await;
        }
    }

    /// The answer as it comes.
    pub(super) async fn follow(self) -> Result<Following, Problem> {
        let (run, hold) = self.submit().await?;
        let events = self.events(run).await?;
        Ok(Following { turn: self, run, hold, events, reader: Reader::default(), spoken: String::new() })
    }

    async fn events(&self, run: Uuid) -> Result<Events, Problem> {
        let events = self.app.engine.events(run, 0).await.map_err(|error| ledger_failed(&error))?;
        events.ok_or_else(|| unknown(&run.to_string()))
    }

    /// What a run that has ended comes to. `spoken` is what the client was given of it before.
    async fn conclude(&self, run: Run, spoken: Option<&str>) -> Result<Answer, Problem> {
        if let Some(problem) = error::of_run(&run) {
            return Err(problem);
        }
        let answer = match spoken {
            Some(spoken) if !spoken.is_empty() => Answer { run, text: spoken.to_owned() },
            _ => Answer::of(run),
        };
        if let Err(error) = self.remember(&answer).await {
            tracing::warn!(run = %answer.run.id, "its conversation will not be recognised: {error}");
        }
        Ok(answer)
    }

    async fn remember(&self, answer: &Answer) -> Result<(), LedgerError> {
        let session = answer.run.end.as_ref().and_then(|end| end.session_id.as_deref());
        let (Some(session), ledger) = (session, self.app.engine.ledger()) else { return Ok(()) };
        let expires = Some(now() + REMEMBERED_MS);
        let digest = self.memory.conversation.clone().map(|digest| digest.answered(&answer.text).text());
        if let Some(digest) = &digest {
            let note = Note { key: format!("conversation/{digest}"), value: json!(session) };
            ledger.put_note(DOOR, note, expires).await?;
        }
        if digest.is_some() || self.memory.store {
            // The session's end: a conversation that is not there any more cannot be gone on with.
            let end = json!({"conversation": digest, "run": answer.run.id});
            ledger.put_note(DOOR, Note { key: format!("session/{session}"), value: end }, expires).await?;
        }
        Ok(())
    }
}

fn request(options: Options, told: Told) -> Request {
    let options = Options { attachments: told.attachments, ..options };
    Request { prompt: told.prompt, options, format: OutputFormat::Json }
}

/// The session that a conversation is at the end of.
async fn recognised(app: &App, digest: &str) -> Result<Option<String>, Problem> {
    let ledger = app.engine.ledger();
    let session = ledger.note(DOOR, &format!("conversation/{digest}")).await.map_err(|error| ledger_failed(&error))?;
    let Some(session) = session.as_ref().and_then(Value::as_str) else { return Ok(None) };
    let end = ledger.note(DOOR, &format!("session/{session}")).await.map_err(|error| ledger_failed(&error))?;
    Ok(end.filter(|end| end["conversation"] == digest).map(|_| session.to_owned()))
}

/// The session of a run that a client names as the previous one.
async fn of_previous(app: &App, run: &Run) -> Result<String, Problem> {
    let field = "previous_response_id";
    let session = run.end.as_ref().and_then(|end| end.session_id.clone()).filter(|_| run.state == State::Succeeded);
    let session = session.ok_or_else(|| invalid(field, "that response has not come to its end"))?;
    let key = format!("session/{session}");
    let end = app.engine.ledger().note(DOOR, &key).await.map_err(|error| ledger_failed(&error))?;
    if end.is_none_or(|end| end["run"] != run.id.to_string()) {
        let why = "that response is not the last one of its conversation, or was not stored: send the whole conversation \
                   as input instead";
        return Err(invalid(field, why));
    }
    Ok(session)
}

/// A run that is being followed.
pub(super) struct Following {
    turn: Turn,
    pub(super) run: Uuid,
    hold: Hold,
    events: Events,
    reader: Reader,
    /// What the client was given of the answer.
    spoken: String,
}

/// What comes next of a run.
pub(super) enum Step {
    /// Pieces of the answer; there may be none in what has happened.
    Deltas(Vec<Delta>),
    /// The whole of it.
    Answer(Box<Answer>),
    /// There will be none.
    Failed(Problem),
}

impl Following {
    pub(super) fn model(&self) -> &str {
        &self.turn.model
    }

    pub(super) fn progress(&self) -> Progress {
        self.turn.progress
    }

    /// The next step. Can be dropped and called again until the run has ended; after the end nothing comes.
    pub(super) async fn next(&mut self) -> Step {
        let stopped = async {
            match &self.turn.stopping {
                Some(stopping) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        let waiting = self.events.is_waiting();
        let chunk = tokio::select! {
            biased;
            chunk = self.events.next() => chunk,
            // A run that is ended by the stop says so itself; one that waits goes on waiting without us.
            () = stopped, if waiting => {
                self.hold.release();
                let detail = "the server is shutting down; the run waits for the next one";
                let problem = Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail);
                return Step::Failed(problem.with("runId", self.run.to_string()));
            }
        };
        match chunk {
            Ok(Some(chunk)) => {
                let mut deltas = self.reader.read(&chunk.lines);
                // With a schema only the form counts, and that is whole only at the end.
                deltas.retain(|delta| !self.turn.schema || !matches!(delta, Delta::Text(_)));
                for delta in &deltas {
                    if let Delta::Text(text) = delta {
                        self.spoken.push_str(text);
                    }
                }
                Step::Deltas(deltas)
            }
            Ok(None) => self.ended().await,
            Err(error) => Step::Failed(Problem::internal("reading a run's events", &error)),
        }
    }

    async fn ended(&mut self) -> Step {
        let run = match self.turn.app.engine.wait(self.run).await {
            Ok(Some(run)) => run,
            Ok(None) => return Step::Failed(unknown(&self.run.to_string())),
            Err(error) => return Step::Failed(ledger_failed(&error)),
        };
        self.hold.release();
        if self.spoken.is_empty() && self.turn.again(&run) {
            return match self.start_again().await {
                Ok(()) => Step::Deltas(Vec::new()),
                Err(problem) => Step::Failed(problem),
            };
        }
        match self.turn.conclude(run, Some(&self.spoken)).await {
            Ok(answer) => Step::Answer(Box::new(answer)),
            Err(problem) => Step::Failed(problem),
        }
    }

    async fn start_again(&mut self) -> Result<(), Problem> {
        (self.run, self.hold) = self.turn.submit().await?;
        self.events = self.turn.events(self.run).await?;
        self.reader = Reader::default();
        Ok(())
    }

    /// Whether the answer's text was given in pieces.
    pub(super) fn has_spoken(&self) -> bool {
        !self.spoken.is_empty()
    }
}
