//! One request as a run: submitted, followed, and remembered by what the client will send next.

pub(super) mod follow;

use axum::Extension;
use serde_json::json;
use uuid::Uuid;

use super::answer::Answer;
use super::conversation::{CliInput, Conversation, Digest};
use super::error;
use super::headers::{Headers, ProgressStyle};
use super::material;
use super::memory::{self, Memory, Previous};
use super::models::{self, Models};
use super::spoken::Spoken;
use super::tools::Tools;
use super::wish::AnswerRequest;
use crate::claude::arguments::{FromDoor, Options, OutputFormat};
use crate::claude::outcome::Outcome;
use crate::desk::Desk;
use crate::desk::ask::Ask;
use crate::desk::caller::Caller;
use crate::desk::refusal::Refusal;
use crate::doors::web::problem::Problem;
use crate::doors::web::server::Stopping;
use crate::runs::engine::Hold;
use crate::runs::submission::{Busy, SubmitError};
use crate::store::record::{DoorName, Request, Run};

/// A run that can be started.
pub(super) struct Turn {
    desk: Desk,
    ask: Ask,
    /// What is asked in a fresh session if the one to go on with is gone.
    replay: Option<Request>,
    memory: Memory,
    /// The model's name, as the client has it.
    pub(super) model: String,
    /// How thinking and tools show.
    pub(super) progress: ProgressStyle,
    schema: bool,
    /// The function whose call the answer is.
    call: Option<String>,
    stops: Vec<String>,
    ignored_tools: bool,
    /// Whether the workspace's queue is bounded for this run: the client has not said that it wants to wait.
    bounded: bool,
    stopping: Option<Stopping>,
}

impl Turn {
    pub(super) async fn new(
        desk: Desk,
        models: &Models,
        caller: &Caller,
        headers: Headers,
        mut wish: AnswerRequest,
        stopping: Option<Extension<Stopping>>,
    ) -> Result<Self, Problem> {
        let model = models::asked(models, &wish.model)?;
        let mut conversation = Conversation::new(std::mem::take(&mut wish.messages), wish.field)?;
        let name = match &wish.previous {
            Some(run) if headers.workspace.is_empty() => run.workspace.to_string_lossy().into_owned(),
            _ => headers.workspace.clone(),
        };
        let workspace = desk.workspace(caller, name, headers.create_workspace).await?;
        let asked = asked(&wish, &headers, &conversation);
        let session = match (&headers.session, &wish.previous) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(run)) => match memory::previous(&desk, caller, run).await? {
                Previous::Session(id) => Some(id),
                Previous::Told(messages) => {
                    conversation.history.splice(..0, messages);
                    None
                }
            },
            (None, None) => None,
        };
        let newest = material::prepare(&desk.fetcher, &conversation.newest).await?;
        let scope = [workspace.path.to_string_lossy().into_owned(), caller.name.clone()];
        let digest = Digest::new(&scope.each_ref().map(String::as_str), conversation.system.as_deref())
            .messages(&conversation.history);
        let (schema, call, hint) = match wish.tools.clone() {
            Tools::Forced(forced) => (Some(forced.schema), Some(forced.name), Some(forced.hint)),
            Tools::None | Tools::Ignored => (wish.schema.clone(), None, None),
        };
        let append: Vec<String> = headers.append_system_prompt.clone().into_iter().chain(hint).collect();
        let options = Options {
            model,
            system_prompt: conversation.system.clone(),
            append_system_prompt: (!append.is_empty()).then(|| append.join("\n\n")),
            json_schema: schema.clone(),
            effort: wish.effort,
            no_continue: !headers.go_on,
            include_partial_messages: wish.stream,
            ..Options::default()
        };
        let session = match session {
            Some(id) => Some((id, false)),
            None if headers.go_on && wish.previous.is_none() && !conversation.history.is_empty() => {
                memory::recognised(&desk, &digest.clone().text()).await?.map(|id| (id, true))
            }
            None => None,
        };
        let history = match session {
            Some((_, false)) => Vec::new(),
            _ => material::prepare(&desk.fetcher, &conversation.history).await?,
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
        let ask = Ask::new(caller.origin(DoorName::OpenAi, desk.workspaces.root()), workspace.path, request);
        let ask = ask.busy(headers.busy.unwrap_or(Busy::Queue)).stays(wish.key.is_some()).key(wish.key);
        let conversation = headers.go_on.then(|| digest.messages(&conversation.newest));
        Ok(Self {
            desk,
            ask,
            replay,
            memory: Memory { conversation, response: wish.response, asked },
            model: if wish.model.is_empty() { "default".into() } else { wish.model },
            progress: headers.progress,
            schema: schema.is_some(),
            call,
            stops: wish.stops,
            ignored_tools: wish.tools == Tools::Ignored,
            bounded: headers.busy.is_none(),
            stopping: stopping.map(|Extension(stopping)| stopping),
        })
    }

    async fn submit(&self) -> Result<(Uuid, Hold), Refusal> {
        if self.bounded {
            self.desk.room(self.ask.workspace())?;
        }
        let submitted = match self.ask.clone().submit(&self.desk.engine).await {
            Ok(submitted) => submitted,
            // What a conversation is told and where it goes on can have changed since: what the client asks is the same.
            Err(SubmitError::KeyReused { before }) if self.memory.is_of(&self.desk, before).await? => {
                return Ok((before, Hold::nothing(self.desk.engine.clone())));
            }
            Err(error) => return Err(error.into()),
        };
        if self.ignored_tools {
            tracing::info!(run = %submitted.id, "the client's tools are not called: Claude Code has its own");
        }
        if submitted.new {
            self.memory.begun(&self.desk, submitted.id).await?;
        }
        Ok((submitted.id, submitted.hold))
    }

    /// Replaces what is asked by the whole conversation, if the run has ended because its session was gone.
    fn again(&mut self, run: &Run) -> bool {
        let gone = run.end.as_ref().and_then(|end| end.outcome) == Some(Outcome::SessionNotFound);
        match self.replay.take_if(|_| gone) {
            Some(replay) => {
                self.ask = self.ask.clone().again(replay, |key| format!("{key}/told"));
                true
            }
            None => false,
        }
    }

    /// The answer, once it is there.
    pub(super) async fn answer(mut self) -> Result<Answer, Problem> {
        loop {
            let (id, mut hold) = self.submit().await?;
            let ended = self.desk.wait_or_stop(id, self.stopping.as_ref().map(Stopping::token)).await;
            hold.release();
            let run = ended?;
            if self.again(&run) {
                continue;
            }
            return self.conclude(run, None).await;
        }
    }

    /// What a run that has ended comes to. `spoken` is what the client was given of it before.
    async fn conclude(&self, run: Run, spoken: Option<&mut Spoken>) -> Result<Answer, Problem> {
        if let Some(problem) = error::of_run(&run) {
            return Err(problem);
        }
        let mut answer = Answer::of(run, self.call.as_deref());
        answer.ignored_tools = self.ignored_tools;
        if !self.schema {
            let mut own = Spoken::new(self.stops.clone());
            let spoken = spoken.unwrap_or(&mut own);
            // Of an attempt that fell back to an answer in one piece nothing came before.
            let mut rest = String::new();
            if !spoken.has(&answer.text) {
                let start = if spoken.text().is_empty() { "" } else { "\n\n" };
                rest.push_str(&spoken.say(&format!("{start}{}", answer.text)));
            }
            rest.push_str(&spoken.finish());
            answer.text = spoken.text().to_owned();
            answer.rest = rest;
        }
        if let Err(error) = self.memory.answered(&self.desk, &answer).await {
            tracing::warn!(run = %answer.run.id, "its conversation will not be recognised: {error}");
        }
        Ok(answer)
    }
}

/// Digest of what a client asks under a key, whatever it is told and wherever it goes on by then.
fn asked(wish: &AnswerRequest, headers: &Headers, conversation: &Conversation) -> Option<String> {
    wish.key.as_ref()?;
    let call = if let Tools::Forced(forced) = &wish.tools { Some([&forced.name, &forced.schema]) } else { None };
    let previous = wish.previous.as_ref().map(|run| run.id);
    let digest = Digest::new(&[&headers.workspace], conversation.system.as_deref());
    let digest = digest.messages(&conversation.history).messages(&conversation.newest);
    let rest = json!([wish.model, wish.schema, call, wish.effort, wish.stops, headers.session, previous]);
    Some(digest.with(&rest).text())
}

fn request(options: Options, told: CliInput) -> Request {
    let from_door = FromDoor { attachments: told.attachments, ..FromDoor::default() };
    Request { options, from_door, ..Request::new(told.prompt, OutputFormat::Json) }
}
