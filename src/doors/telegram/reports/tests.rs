use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::super::api::{Answer, Attachment, BotApi, Buttons};
use super::super::chat_settings::ChatSettings;
use super::super::follow::Followers;
use super::super::incoming::{Author, Incoming, Me, Message, Reply, Speaker};
use super::super::notes::Notes;
use super::super::prompt::Prompts;
use super::super::sender::Sender;
use super::*;
use crate::claude::arguments::OutputFormat;
use crate::claude::sessions::Sessions;
use crate::config::server::EngineConfig;
use crate::desk::ask::Ask;
use crate::runs::child::{EndTree, Workers};
use crate::runs::engine::Engine;
use crate::runs::metrics::Metrics;
use crate::runs::submission::{Busy, Origin};
use crate::store::Filter;
use crate::store::record::{DoorName, Request, Requester};
use crate::store::sqlite::Sqlite;
use crate::workspace::Workspaces;

/// A chat that keeps what it is told, and refuses what it is set to.
#[derive(Default)]
struct Chat {
    told: Mutex<Vec<String>>,
    /// After so many messages, this is the answer once.
    refuses: Mutex<Option<(usize, ApiError)>>,
}

impl BotApi for Chat {
    fn send<'a>(&'a self, _: Place, text: &'a Text, _: &'a Buttons) -> Answer<'a, i32> {
        Box::pin(async move {
            let mut told = self.told.lock().unwrap();
            if let Some((_, error)) = self.refuses.lock().unwrap().take_if(|(after, _)| *after == told.len()) {
                return Err(error);
            }
            told.push(text.text.clone());
            Ok(i32::try_from(told.len()).unwrap())
        })
    }

    fn typing(&self, _: Place) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn edit<'a>(&'a self, _: i64, _: i32, _: &'a Text, _: &'a Buttons) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn delete(&self, _: i64, _: i32) -> Answer<'_, ()> {
        unreachable!("nothing is deleted")
    }

    fn me(&self) -> Answer<'_, Me> {
        unreachable!("nobody asks")
    }

    fn delete_webhook(&self) -> Answer<'_, ()> {
        unreachable!("nobody asks")
    }

    fn set_commands(&self, _: &[(&'static str, &'static str)]) -> Answer<'_, ()> {
        unreachable!("nobody asks")
    }

    fn updates<'a>(&'a self, _: i64, _: &'a Me) -> Answer<'a, Vec<Incoming>> {
        unreachable!("nobody asks")
    }

    fn answer_press<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, ()> {
        unreachable!("nobody presses")
    }

    fn send_file<'a>(&'a self, _: Place, _: Attachment<'a>) -> Answer<'a, i32> {
        unreachable!("no file is sent")
    }

    fn download<'a>(&'a self, _: &'a str, _: &'a mut (dyn AsyncWrite + Unpin + Send)) -> Answer<'a, ()> {
        unreachable!("no file is sent")
    }
}

fn new_run() -> Ask {
    let request = Request::new("look at the logs", OutputFormat::Json);
    let origin = Origin::unlimited(DoorName::Cron, Requester::Job("nightly".into()));
    Ask::new(origin, "/w".into(), request).busy(Busy::Queue).stays(true)
}

/// What tells chats and what asks for them, in front of an engine in which every run waits for ever.
async fn door(folder: &Path, chat: &Arc<Chat>) -> (ChatReports, Prompts) {
    let config = EngineConfig {
        runs: 0,
        queue: 10,
        run_timeout: None,
        run_silence: None,
        cost_per_run: None,
        cost_per_day: None,
        keep: Duration::from_hours(1),
        keep_bytes: 1 << 20,
        offline: false,
    };
    let end_tree: EndTree = Arc::new(|_, _| Box::pin(async { 0 }));
    let store = Arc::new(Sqlite::open(folder).unwrap());
    let sessions = Sessions { config_dir: folder.to_owned(), state_dir: folder.to_owned() };
    let workers = Workers::new("/nowhere".into(), Vec::new(), end_tree);
    let engine = Engine::start(store, config, sessions, workers, Metrics::register(&mut Registry::default()), None)
        .await
        .unwrap();
    std::fs::write(folder.join("telegram.yml"), "").unwrap();
    let settings = ChatSettings::open(folder.join("telegram.yml")).unwrap();
    let (workspaces, notes) = (Workspaces::open(folder).unwrap(), Notes::new(engine.notes_to_keep()));
    let sender = Sender::new(Arc::clone(chat) as Arc<dyn BotApi>);
    let reports = ChatReports { workspaces: workspaces.clone(), notes: notes.clone(), sender: sender.clone() };
    let followers = Followers {
        engine: engine.clone(),
        workspaces: workspaces.clone(),
        notes: notes.clone(),
        sender: sender.clone(),
        owed: Arc::default(),
        tasks: TaskTracker::new(),
    };
    (reports, Prompts { engine, workspaces, settings, notes, sender, followers })
}

fn report(run: Uuid, text: &str) -> ChatReport {
    ChatReport { chat: 5, run, job: "nightly *check*".into(), workspace: "/w".into(), text: text.into() }
}

#[tokio::test]
async fn a_report_that_comes_again_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Arc::new(Chat::default());
    let (reports, _) = door(folder.path(), &chat).await;
    let run = Uuid::now_v7();
    let long = (0..300).map(|number| format!("Line {number} of the report.\n\n")).collect::<Vec<_>>().concat();
    let told = || chat.told.lock().unwrap().clone();
    *chat.refuses.lock().unwrap() = Some((1, ApiError::Conflict));
    let first = reports.tell(report(run, &long)).await;
    assert!(matches!(first, Err(ChatError::Later(_))), "{first:?}");
    assert_eq!(told().len(), 1);
    for _ in 0..3 {
        reports.tell(report(run, &long)).await.unwrap();
        let all = told();
        assert!(all.len() == 2 && all[0].starts_with("⏰ nightly *check*\n\nLine 0 of"), "{all:?}");
        assert!(all[1].ends_with("Line 299 of the report."), "{all:?}");
    }
    // Another one of the same run is another one; without a run, the same words are news each time.
    reports.tell(report(run, "It is tried again.")).await.unwrap();
    for _ in 0..2 {
        reports.tell(report(Uuid::nil(), "It could not start.")).await.unwrap();
    }
    assert_eq!(told().len(), 5);
    *chat.refuses.lock().unwrap() = Some((5, ApiError::Refused("Forbidden: bot was blocked by the user".into())));
    let refused = reports.tell(report(run, "another")).await;
    assert!(matches!(refused, Err(ChatError::Never(_))), "{refused:?}");
    let recent = reports.notes.recent(5).await.unwrap();
    assert_eq!(recent.len(), 1, "a run is listed once: {recent:?}");
}

#[tokio::test]
async fn a_reply_to_a_report_asks_about_its_run_in_a_session_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Arc::new(Chat::default());
    let (reports, prompts) = door(folder.path(), &chat).await;
    let run = new_run().submit(&prompts.engine).await.unwrap().id;
    reports.tell(report(run, "Two **errors** were found.")).await.unwrap();
    let message = |id: i32, text: &str, reply: Option<i32>| Message {
        chat: 5,
        thread: None,
        id,
        date: 0,
        user: Some(5),
        author: "Ann".into(),
        by: Author::Person,
        forwarded: None,
        length: 0,
        group: false,
        addressed: false,
        text: text.into(),
        file: None,
        album: None,
        reply: reply.map(|id| Reply { id, text: "Two errors were found.".into(), of: Speaker::Bot, file: None }),
        useless: None,
    };
    let asked = async |message: Message| {
        assert!(prompts.ask(&[message], &CancellationToken::new()).await.is_ok());
        let filter = Filter { requester: Some(Requester::Chat(5)), limit: 10, ..Filter::default() };
        let newest = prompts.engine.list(filter).await.unwrap().remove(0).id;
        prompts.engine.get(newest).await.unwrap().unwrap().request
    };
    let about = asked(message(100, "Which ones?", Some(1))).await;
    assert!(
        about.prompt.contains("the report of the scheduled job \"nightly *check*\"")
            && about.prompt.ends_with("Which ones?")
    );
    assert!(about.prompt.contains("It was asked:\nlook at the logs"), "{}", about.prompt);
    assert_eq!(about.from_door.conversation, Some(format!("telegram:5:report:{run}")));
    // Anywhere else in the chat, the report is known, once.
    let first = asked(message(101, "Hello", None)).await;
    assert!(
        first.prompt.contains("scheduled jobs have reported") && first.prompt.contains("nightly *check*"),
        "{}",
        first.prompt
    );
    assert!(!first.from_door.conversation.unwrap().contains("report"));
    let second = asked(message(102, "Hello again", None)).await;
    assert_eq!(second.prompt, "Hello again");
}
