use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use rstest::rstest;

use serde_json::json;

use super::files::{LONGEST_SLUG_UNITS, slug};
use super::*;

struct Fixture {
    _folder: tempfile::TempDir,
    sessions: Sessions,
    workspace: PathBuf,
    sibling: PathBuf,
}

const OLD: &str = "11111111-1111-4111-8111-111111111111";
const NEW: &str = "22222222-2222-4222-8222-222222222222";
const PROMPT: &str = "sdk-cli";
const PERSON: &str = "cli";

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let (workspace, sibling) = (root.join("a.b"), root.join("a_b"));
    fs::create_dir(&workspace).unwrap();
    fs::create_dir(&sibling).unwrap();
    let sessions = Sessions { config_dir: root.join("config"), state_dir: root.join("state") };
    Fixture { _folder: folder, sessions, workspace, sibling }
}

impl Fixture {
    fn path(&self, id: &str) -> PathBuf {
        self.sessions.projects().join(slug(&self.workspace).text).join(format!("{id}.jsonl"))
    }

    /// A session file of `cwd` in the folder of `workspace`, written `age` seconds ago by the CLI started like that.
    fn write(&self, id: &str, cwd: &Path, entrypoint: &str, age: u64) {
        let line = json!({"type": "user", "cwd": cwd, "entrypoint": entrypoint}).to_string();
        self.write_text(id, &format!("{{\"type\":\"summary\"}}\nnot json\n{line}\n"), age);
    }

    fn write_text(&self, id: &str, text: &str, age: u64) {
        let path = self.path(id);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }

    fn of_prompt(&self, id: &str, age: u64) {
        self.write(id, &self.workspace, PROMPT, age);
    }

    fn of_person(&self, id: &str, age: u64) {
        self.write(id, &self.workspace, PERSON, age);
    }

    /// From here on prompts and the terminal have sessions of their own.
    fn separated(self) -> Self {
        assert!(self.sessions.first_separation(&self.workspace));
        self
    }

    /// Notes the last session of the workspace.
    fn remember(&self, id: &str) {
        self.sessions.confirm(&notes::keys(&self.workspace, None), id).unwrap();
    }

    fn open(&self, options: &Options, side: Side) -> Result<Opened, OpenError> {
        self.sessions.open(options, &self.workspace, side)
    }

    fn prompt(&self) -> Opened {
        self.open(&Options::default(), Side::Prompt).unwrap()
    }

    fn terminal(&self) -> Opened {
        self.open(&Options::default(), Side::Terminal).unwrap()
    }
}

/// What was chosen, without the ids that are made up.
fn choice(opened: &Opened) -> (&'static str, &str) {
    match &opened.choice.session {
        Session::Fresh => panic!("a session without an id"),
        Session::Begin(_) => ("begin", ""),
        Session::Resume(id) => ("resume", id),
        Session::Continue(id) => ("continue", id),
        Session::Fork { from, .. } => ("fork", from),
        Session::Picked(arguments) => ("picked", &arguments[0]),
    }
}

fn resume(id: &str) -> Options {
    Options { resume: Some(id.into()), ..Options::default() }
}

#[test]
fn nothing_to_continue_begins_a_session() {
    assert_eq!(choice(&fixture().prompt()), ("begin", ""));
    assert_eq!(choice(&fixture().terminal()), ("begin", ""));
}

#[test]
fn prompts_and_the_terminal_each_go_on_with_their_own() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.of_person(NEW, 10);
    assert_eq!(choice(&fixture.prompt()), ("continue", OLD));
    assert_eq!(choice(&fixture.terminal()), ("continue", NEW));
    // Whichever was used last.
    fixture.of_prompt(OLD, 1);
    assert_eq!(choice(&fixture.prompt()), ("continue", OLD));
    assert_eq!(choice(&fixture.terminal()), ("continue", NEW));
}

#[rstest]
#[case::prompts(PERSON, Side::Prompt)]
#[case::the_terminal(PROMPT, Side::Terminal)]
fn in_a_new_folder_neither_begins_with_the_others(#[case] entrypoint: &str, #[case] side: Side) {
    let fixture = fixture().separated();
    fixture.write(OLD, &fixture.workspace, entrypoint, 10);
    assert_eq!(choice(&fixture.open(&Options::default(), side).unwrap()), ("begin", ""));
}

/// Until now both went on with the newest session.
#[rstest]
#[case::prompts(PERSON, Side::Prompt)]
#[case::the_terminal(PROMPT, Side::Terminal)]
fn what_both_had_is_still_there_for_whoever_comes_first(#[case] entrypoint: &str, #[case] side: Side) {
    let fixture = fixture();
    fixture.of_person(NEW, 100);
    fixture.of_prompt(NEW, 100);
    fixture.write(OLD, &fixture.workspace, entrypoint, 10);
    let opened = fixture.open(&Options::default(), side).unwrap();
    assert_eq!(choice(&opened), ("fork", OLD));
    assert!(opened.choice.is_own);
}

#[test]
fn a_session_that_both_have_spoken_in_is_the_persons_and_prompts_go_on_in_a_copy() {
    let fixture = fixture();
    let lines = [PERSON, PROMPT, PROMPT].map(|entrypoint| {
        json!({"type": "user", "cwd": fixture.workspace, "entrypoint": entrypoint}).to_string() + "\n"
    });
    fixture.write_text(OLD, &lines.concat(), 10);
    fixture.remember(OLD);
    assert_eq!(choice(&fixture.prompt()), ("fork", OLD));
    assert_eq!(choice(&fixture.terminal()), ("continue", OLD));
    // A line of a CLI that does not name how it was started may be a person's.
    let unmarked = json!({"type": "user", "cwd": fixture.workspace}).to_string();
    fixture.write_text(OLD, &unmarked, 10);
    assert_eq!(choice(&fixture.prompt()), ("fork", OLD));
    assert_eq!(choice(&fixture.terminal()), ("continue", OLD));
}

#[test]
fn the_others_session_is_gone_on_with_where_that_is_asked_for() {
    let fixture = fixture().separated();
    let of_terminal = Options { continue_interactive: true, ..Options::default() };
    let of_prompts = Options { continue_scripts: true, ..Options::default() };
    for (options, side, of) in [(&of_terminal, Side::Prompt, "the terminal"), (&of_prompts, Side::Terminal, "scripts")]
    {
        let error = fixture.open(options, side).unwrap_err().to_string();
        assert!(error.starts_with(&format!("there is no session of {of} in /")), "{error}");
    }
    fixture.of_prompt(OLD, 10);
    fixture.of_person(NEW, 100);
    fixture.remember(OLD);
    let opened = fixture.open(&of_terminal, Side::Prompt).unwrap();
    // The next prompt goes on with its own again.
    assert_eq!((choice(&opened), opened.choice.is_own), (("continue", NEW), false));
    assert_eq!(choice(&fixture.open(&of_prompts, Side::Terminal).unwrap()), ("continue", OLD));
}

#[test]
fn a_session_has_one_writer() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 10);
    fixture.of_person(NEW, 10);
    let first = fixture.prompt();
    assert_eq!(choice(&first), ("continue", OLD));
    let second = fixture.prompt();
    assert_eq!(choice(&second), ("fork", OLD));
    assert!(second.choice.note.as_ref().unwrap().contains("another run is writing in it"), "{second:?}");
    // By its id it is refused, in whatever case, and a copy is not.
    for id in [OLD.to_owned(), OLD.to_uppercase()] {
        let error = fixture.open(&resume(&id), Side::Terminal).unwrap_err();
        assert_eq!(error, OpenError::InUse { id: id.clone(), by: Side::Prompt });
        assert_eq!(fixture.sessions.check_free(&id).unwrap_err(), error);
        let copy = Options { fork_session: true, ..resume(&id) };
        assert_eq!(choice(&fixture.open(&copy, Side::Terminal).unwrap()).0, "fork");
    }
    // One that has just begun is known as well.
    let Session::Fork { into, .. } = &second.choice.session else { panic!("{second:?}") };
    assert!(fixture.open(&resume(into), Side::Prompt).is_err());
    drop(first);
    assert_eq!(fixture.sessions.check_free(OLD), Ok(()));
    assert_eq!(choice(&fixture.open(&resume(OLD), Side::Prompt).unwrap()), ("resume", OLD));
}

#[test]
fn an_open_terminal_keeps_its_session_and_whatever_it_went_over_to() {
    let fixture = fixture().separated();
    fixture.of_person(OLD, 10);
    let terminal = fixture.terminal();
    assert_eq!(choice(&terminal), ("continue", OLD));
    let second = fixture.terminal();
    assert_eq!(choice(&second), ("begin", ""));
    assert!(second.choice.note.as_ref().unwrap().contains("another terminal"));
    drop(second);
    // After /clear, the CLI writes a file that nobody has heard of.
    fixture.of_person(NEW, 0);
    File::options().append(true).open(fixture.path(NEW)).unwrap().write_all(b"\n").unwrap();
    let of_terminal = Options { continue_interactive: true, ..Options::default() };
    assert_eq!(choice(&fixture.open(&of_terminal, Side::Prompt).unwrap()), ("fork", NEW));
    assert_eq!(
        fixture.open(&resume(NEW), Side::Prompt).unwrap_err(),
        OpenError::InUse { id: NEW.into(), by: Side::Terminal }
    );
    drop(terminal);
    assert_eq!(choice(&fixture.open(&of_terminal, Side::Prompt).unwrap()), ("continue", NEW));
}

#[test]
fn the_files_of_holders_that_are_gone_do_not_pile_up() {
    let fixture = fixture().separated();
    let files = || {
        let names = fs::read_dir(fixture.sessions.locks()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|name| name != ".lock").collect::<Vec<_>>()
    };
    let three = [fixture.prompt(), fixture.prompt(), fixture.prompt()];
    assert_eq!(files().len(), 3);
    drop(three);
    // Whatever they held before, longer or shorter, only their new holder can be read.
    for (name, length) in files().iter().zip([10, 500, 100_000]) {
        fs::write(fixture.sessions.locks().join(name), "x".repeat(length)).unwrap();
    }
    // One of the three files is its own now.
    let opened = fixture.prompt();
    assert_eq!(choice(&opened).0, "begin");
    let id = opened.choice.session.writes().unwrap();
    assert_eq!(files(), [id]);
    assert_eq!(Registry::peek(&fixture.sessions.locks(), id), Some(Side::Prompt));
    assert_eq!(
        fixture.open(&resume(id), Side::Prompt).unwrap_err(),
        OpenError::InUse { id: id.into(), by: Side::Prompt }
    );
}

#[test]
fn a_terminal_does_not_open_a_session_that_is_not_there() {
    let fixture = fixture().separated();
    assert_eq!(fixture.open(&resume(NEW), Side::Terminal).unwrap_err(), OpenError::Unknown(NEW.into()));
    fixture.of_person(NEW, 0);
    assert_eq!(choice(&fixture.open(&resume(NEW), Side::Terminal).unwrap()).1, NEW);
}

/// Which one it will be, nobody knows. That a terminal is open here is known: another one begins its own session.
#[test]
fn a_terminal_has_the_cli_ask_for_what_is_no_id() {
    let fixture = fixture().separated();
    fixture.of_person(NEW, 0);
    let by_title = fixture.open(&resume("the parser"), Side::Terminal).unwrap();
    assert_eq!(choice(&by_title), ("picked", "--resume=the parser"));
    assert_eq!(choice(&fixture.terminal()), ("begin", ""));
    let picks = Options { picks: Some(vec!["--resume".into()]), fork_session: true, ..Options::default() };
    let picked = fixture.open(&picks, Side::Terminal).unwrap();
    assert_eq!(picked.choice.session, Session::Picked(vec!["--resume".into(), "--fork-session".into()]));
}

#[test]
fn what_goes_on_by_default_goes_on_in_a_copy_where_that_is_asked_for() {
    let fixture = fixture().separated();
    fixture.of_person(NEW, 0);
    let copy = Options { fork_session: true, ..Options::default() };
    assert_eq!(choice(&fixture.open(&copy, Side::Terminal).unwrap()), ("fork", NEW));
    assert_eq!(choice(&fixture.open(&copy, Side::Prompt).unwrap()), ("begin", ""));
}

#[rstest]
#[case::empty("")]
#[case::zeros("\0\0\0\0")]
#[case::torn("{\"type\":\"user\",\"cwd\":\"/")]
fn a_session_that_cannot_be_resumed_is_passed_over(#[case] text: &str) {
    let fixture = fixture().separated();
    fixture.write_text(NEW, text, 0);
    fixture.remember(NEW);
    for opened in [fixture.prompt(), fixture.terminal()] {
        assert_eq!(choice(&opened), ("begin", ""));
        let note = opened.choice.note.as_ref().unwrap();
        assert!(note.contains(NEW) && note.contains("a new session begins"), "{note}");
        assert!(opened.choice.tells_of_loss);
    }
    fixture.of_person(OLD, 100);
    let opened = fixture.terminal();
    assert_eq!(choice(&opened), ("continue", OLD));
    assert!(opened.choice.note.unwrap().contains("the session before it goes on"));
}

#[test]
fn the_newest_file_of_this_workspace() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.of_prompt(NEW, 10);
    assert_eq!(choice(&fixture.prompt()), ("continue", NEW));
}

#[test]
fn a_neighbour_in_the_same_folder_is_not_ours() {
    let fixture = fixture().separated();
    assert_eq!(slug(&fixture.workspace).text, slug(&fixture.sibling).text);
    fixture.of_person(OLD, 100);
    fixture.write(NEW, &fixture.sibling, PERSON, 10);
    assert_eq!(choice(&fixture.terminal()), ("continue", OLD));
}

#[test]
fn prompts_go_on_with_the_session_in_their_ledger_while_its_file_is_there() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 1);
    // It was resumed from another folder, so its file does not say this workspace.
    fixture.write(NEW, Path::new("/elsewhere"), PROMPT, 100);
    fixture.remember(NEW);
    assert_eq!(choice(&fixture.prompt()), ("continue", NEW));
    fs::remove_file(fixture.path(NEW)).unwrap();
    assert_eq!(choice(&fixture.prompt()), ("continue", OLD));
}

#[test]
fn clearing_takes_this_workspaces_sessions_and_nobody_elses() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.write(NEW, &fixture.sibling, PROMPT, 10);
    let folder = fixture.sessions.projects().join(slug(&fixture.workspace).text);
    for kept in ["memory", NEW] {
        fs::create_dir(folder.join(kept)).unwrap();
    }
    fs::create_dir_all(folder.join(OLD).join("subagents")).unwrap();
    let other_box =
        Sessions { state_dir: fixture.sessions.config_dir.join("claudebox/other"), ..fixture.sessions.clone() };
    for sessions in [&fixture.sessions, &other_box] {
        // A session of the neighbour's that was gone on with here: forgotten, not deleted.
        for workspace in [&fixture.workspace, &fixture.sibling] {
            sessions.confirm(&notes::keys(workspace, None), NEW).unwrap();
        }
    }
    assert_eq!(fixture.sessions.clear(&fixture.workspace).unwrap(), 1);
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, [NEW, &format!("{NEW}.jsonl"), "memory"]);
    let choose = |sessions: &Sessions, workspace: &Path| {
        let opened = sessions.open(&Options::default(), workspace, Side::Prompt).unwrap();
        let (what, id) = choice(&opened);
        (what, id.to_owned())
    };
    for sessions in [&fixture.sessions, &other_box] {
        assert_eq!(choose(sessions, &fixture.workspace), ("begin", String::new()));
        assert_eq!(choose(sessions, &fixture.sibling), ("continue", NEW.to_owned()));
    }
    assert_eq!(fixture.sessions.clear(&fixture.workspace).unwrap(), 0);
}

#[test]
fn a_conversation_has_its_own_session_whatever_the_workspace_was_last_in() {
    let fixture = fixture().separated();
    let choose_with = |options: &Options, conversation: &str| {
        let chosen = fixture.sessions.choose(options, Some(conversation), &fixture.workspace).unwrap();
        let chosen = fixture.sessions.note(chosen);
        let taken = fixture.sessions.take(chosen.session, &fixture.workspace).unwrap();
        let (what, id) = choice(&taken);
        (what, id.to_owned())
    };
    let choose = |conversation: &str| choose_with(&Options::default(), conversation);
    fixture.of_prompt(OLD, 100);
    fixture.of_prompt(NEW, 10);
    assert_eq!(choose("a").0, "begin");
    fixture.sessions.confirm(&[notes::of_conversation("a")], OLD).unwrap();
    fixture.remember(NEW);
    assert_eq!(choose("a"), ("continue", OLD.into()));
    assert_eq!(choose("b").0, "begin");
    assert_eq!(choose_with(&Options { no_continue: true, ..Options::default() }, "a").0, "begin");
    assert_eq!(choose_with(&Options { resume: Some(NEW.into()), ..Options::default() }, "a"), ("resume", NEW.into()));
    // One whose file is gone cannot be continued.
    fixture.sessions.confirm(&[notes::of_conversation("a")], "33333333-3333-4333-8333-333333333333").unwrap();
    assert_eq!(choose("a").0, "begin");
}

#[test]
fn slugs_are_the_clis() {
    assert_eq!(slug(Path::new("/home/me/a.b_c")).text, "-home-me-a-b-c");
    // Two UTF-16 units, two dashes.
    assert_eq!(slug(Path::new("/\u{1f600}")).text, "---");
    let long = slug(Path::new(&format!("/{}", "x".repeat(300))));
    assert!(long.cut && long.text.len() == LONGEST_SLUG_UNITS);
}

#[test]
fn a_session_is_known_by_where_all_its_files_were_begun() {
    let fixture = fixture();
    assert!(fixture.sessions.begun_in(NEW).is_empty() && !fixture.sessions.exists(NEW));
    fixture.of_prompt(NEW, 1);
    let elsewhere = fixture.sessions.projects().join("-elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join(format!("{NEW}.jsonl")), "{\"cwd\":\"/elsewhere\"}\n").unwrap();
    let mut found = fixture.sessions.begun_in(NEW);
    found.sort_unstable();
    let mut both = [PathBuf::from("/elsewhere"), fixture.workspace.clone()];
    both.sort_unstable();
    assert_eq!(found, both);
    assert!(fixture.sessions.exists(NEW) && fixture.sessions.begun_in("../x").is_empty());
}

/// The choice of a prompt, noted, as the engine makes it before the CLI is there.
fn chosen(fixture: &Fixture, options: &Options) -> Choice {
    fixture.sessions.note(fixture.sessions.choose(options, None, &fixture.workspace).unwrap())
}

/// The choice of a prompt of the conversation `a`.
fn chosen_in_a(fixture: &Fixture, options: &Options) -> Choice {
    fixture.sessions.note(fixture.sessions.choose(options, Some("a"), &fixture.workspace).unwrap())
}

fn begin() -> Options {
    Options { no_continue: true, ..Options::default() }
}

/// What the next prompt goes on with, if with anything.
fn next(fixture: &Fixture) -> Option<String> {
    match chosen(fixture, &Options::default()).session {
        Session::Continue(id) => Some(id),
        Session::Begin(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_noted_when_it_is_chosen_and_counts_when_there_is_a_conversation_in_it() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.remember(OLD);
    let begun = chosen(&fixture, &begin());
    let id = begun.session.writes().unwrap().to_owned();
    // Killed before the CLI was there: the one before it goes on. It may happen again and again.
    for _ in 0..3 {
        assert_eq!(next(&fixture).as_deref(), Some(OLD));
        let _ = chosen(&fixture, &begin());
    }
    // Killed later: the new one does.
    let begun = chosen(&fixture, &begin());
    assert_ne!(begun.session.writes(), Some(id.as_str()));
    let id = begun.session.writes().unwrap();
    fixture.of_prompt(id, 1);
    assert_eq!(next(&fixture).as_deref(), Some(id));
}

#[test]
fn a_prompt_that_was_in_no_session_leaves_the_note_as_it_was() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.of_prompt(NEW, 1);
    fixture.remember(OLD);
    let resumed = chosen_in_a(&fixture, &resume(NEW));
    fixture.sessions.settle(&resumed, &Was::Nowhere);
    assert_eq!(next(&fixture).as_deref(), Some(OLD));
    assert_eq!(fixture.sessions.remembered(&notes::of_conversation("a")), None);
    // One that went on with the noted one has nothing to take back.
    fixture.sessions.settle(&chosen(&fixture, &Options::default()), &Was::Nowhere);
    assert_eq!(next(&fixture).as_deref(), Some(OLD));
    // Nor has one that another has come after.
    let (first, second) = (chosen(&fixture, &resume(NEW)), chosen(&fixture, &resume(OLD)));
    fixture.sessions.settle(&first, &Was::Nowhere);
    assert_eq!(next(&fixture).as_deref(), Some(OLD));
    drop(second);
}

#[test]
fn where_a_prompt_was_after_all_is_what_the_next_one_goes_on_with() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.remember(OLD);
    let choice = chosen_in_a(&fixture, &Options::default());
    // The session had gone when the CLI looked for it.
    fixture.of_prompt(NEW, 1);
    fixture.sessions.settle(&choice, &Was::In(NEW.into()));
    assert_eq!(next(&fixture).as_deref(), Some(NEW));
    assert_eq!(fixture.sessions.remembered(&notes::of_conversation("a")).as_deref(), Some(NEW));
    // Nobody could say: what was chosen stays noted.
    fixture.sessions.settle(&chosen(&fixture, &resume(OLD)), &Was::Unknown);
    assert_eq!(next(&fixture).as_deref(), Some(OLD));
    // A session that was there and is deleted brings none before it back.
    fixture.sessions.settle(&chosen(&fixture, &resume(OLD)), &Was::In(OLD.into()));
    fixture.sessions.settle(&chosen_in_a(&fixture, &resume(NEW)), &Was::In(NEW.into()));
    fs::remove_file(fixture.path(NEW)).unwrap();
    assert_eq!(fixture.sessions.remembered(&notes::of_conversation("a")), None);
}

#[test]
fn the_last_to_end_is_who_the_next_one_goes_on_with() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 100);
    fixture.of_prompt(NEW, 100);
    let (first, second) = (chosen(&fixture, &resume(OLD)), chosen(&fixture, &resume(NEW)));
    fixture.sessions.settle(&second, &Was::In(NEW.into()));
    fixture.sessions.settle(&first, &Was::In(OLD.into()));
    assert_eq!(next(&fixture).as_deref(), Some(OLD));
}

#[test]
fn what_was_chosen_is_taken_unless_somebody_else_has_come_to_write_in_it() {
    let fixture = fixture().separated();
    fixture.of_prompt(OLD, 10);
    let take = |session: Session| fixture.sessions.take(session, &fixture.workspace);
    let ours = chosen(&fixture, &Options::default());
    let other = take(ours.session.clone()).unwrap();
    assert_eq!(choice(&other), ("continue", OLD));
    let copy = take(ours.session).unwrap();
    assert_eq!(choice(&copy), ("fork", OLD));
    assert!(copy.choice.note.as_ref().unwrap().contains("another run is writing in it"), "{copy:?}");
    let error = take(Session::Resume(OLD.into())).unwrap_err();
    assert_eq!(error, OpenError::InUse { id: OLD.into(), by: Side::Prompt });
    drop(other);
    assert_eq!(choice(&take(Session::Resume(OLD.into())).unwrap()), ("resume", OLD));
}
