//! Boxes with jobs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{self, Api};
use crate::support::{Launch, TestBox, UID};

/// The stub in the CLI's place. What it does stands in the prompt; `$NOTES/prompts` gets the prompts, `$NOTES/arguments`
/// its arguments, `$NOTES/starts` the ids of its runs.
const STUB: &str = r#"
# The prompt's text, as it stands in the message of stream-json.
prompt=$(sed 's/.*"type":"text","text":"\(.*\)"}\]},"parent.*/\1/')
echo "$CLAUDEBOX_RUN_ID" >>"$NOTES/starts"
printf '%s\n' "$prompt" >>"$NOTES/prompts"
printf '%s\n' "$*" >>"$NOTES/arguments"
# Each workspace has a session of its own.
session=11111111-2222-4333-8444-$(pwd | cksum | { read -r sum _; printf '%012d' "$sum"; })
init() { printf '{"type":"system","subtype":"init","session_id":"%s","tools":[]}\n' $session; }
result() { printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"%s"}\n' "$1" $session; }
failure() { printf '{"type":"result","subtype":"success","is_error":true,"api_error_status":%s,"result":"%s","session_id":"%s"}\n' "$1" "$2" $session; exit 1; }
# Whether it is one of the first $1 of its kind.
early() { echo x >>"$NOTES/count-$2"; [ "$(wc -l <"$NOTES/count-$2")" -le "$1" ]; }
set -- $prompt
case $1 in
  say) init; shift; result "$*" ;;
  nap) init; sleep "$2"; result "slept" ;;
  hang) init; sleep 1000 ;;
  until) init; while [ ! -e "$NOTES/$2" ]; do sleep 0.02; done; result "saw $2" ;;
  fail) init; if early "$2" "$3"; then failure 500 "API Error: 500 out of luck"; else result "luck at last"; fi ;;
  limit)
    init
    if early 1 "$3"; then
      printf '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%s}}\n' $(($(date +%s) + $2))
      failure 429 "usage limit reached"
    else result "after the limit"; fi ;;
  gone)
    case $* in *) ;; esac
    if grep -q -- "--resume" "$NOTES/arguments" && early 1 gone; then
      printf '{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: x"]}\n'
      exit 1
    fi
    init; result "here" ;;
  *) init; result "?" ;;
esac
"#;

/// Writes the file of jobs, whole, as an editor does.
pub(crate) fn write_jobs(testbox: &TestBox, text: &str) {
    let new = testbox.path("cron.yaml.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, testbox.path("cron.yaml")).unwrap();
}

/// A job of the file, a line for each field.
pub(crate) fn job(name: &str, schedule: &str, instruction: &str, more: &str) -> String {
    let mut text = format!("  - name: {name}\n    schedule: '{schedule}'\n    instruction: {instruction:?}\n");
    for field in more.split(';').map(str::trim).filter(|field| !field.is_empty()) {
        text.extend(["    ", field, "\n"]);
    }
    text
}

/// Every second.
pub(crate) const EACH_SECOND: &str = "* * * * * *";

/// The settings of the cron door.
pub(crate) fn with_cron<'testbox>(testbox: &'testbox TestBox, launch: Launch<'testbox>) -> Launch<'testbox> {
    let path = |name: &str| testbox.path(name).to_str().unwrap().to_owned();
    launch
        .env("CLAUDEBOX_MODE_CRON", "1")
        .env("CLAUDEBOX_MODE_CRON_FILE", &path("cron.yaml"))
        .env("CLAUDEBOX_WORKSPACE", &path("work"))
}

/// A box with the API, the cron door, and the stub.
pub(crate) fn with_stub(testbox: &TestBox) -> Launch<'_> {
    let notes = testbox.path("notes");
    if !notes.exists() {
        fs::create_dir(&notes).unwrap();
        chown(&notes, Some(UID), Some(UID)).unwrap();
    }
    let stub = testbox.script("stub", &format!("#!/bin/sh\nNOTES={}{STUB}", notes.display()));
    let launch = fixture::without_cli(testbox).env("CLAUDEBOX_CLAUDE_BIN", &stub).env("CLAUDEBOX_MANIFEST", "/none");
    with_cron(testbox, launch)
}

/// What the stub has noted.
pub(crate) fn notes(testbox: &TestBox, name: &str) -> Vec<String> {
    let text = fs::read_to_string(testbox.path("notes").join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Lets `until NAME` go on.
pub(crate) fn let_go(testbox: &TestBox, name: &str) {
    fs::write(testbox.path("notes").join(name), "").unwrap();
}

/// The folders of a job's ticks, the oldest first.
pub(crate) fn folders(testbox: &TestBox, job: &str) -> Vec<PathBuf> {
    let history = testbox.path("home/.claude/cron/history");
    let workspaces = fs::read_dir(history).into_iter().flatten().flatten();
    let runs = workspaces.flat_map(|workspace| fs::read_dir(workspace.path()).into_iter().flatten().flatten());
    let mut found: Vec<PathBuf> = runs.map(|run| run.path()).filter(|path| job_of(path) == job).collect();
    found.sort_by_key(|path| path.file_name().unwrap().to_owned());
    found
}

fn job_of(folder: &std::path::Path) -> &str {
    &folder.file_name().unwrap().to_str().unwrap()[16..]
}

/// What is written down of a job's ticks that are over, the oldest first.
pub(crate) fn finished(testbox: &TestBox, job: &str) -> Vec<Value> {
    let metas = folders(testbox, job).into_iter().filter_map(|folder| fs::read(folder.join("meta.json")).ok());
    let metas = metas.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
    metas.filter(|meta| !meta["finished_at"].is_null() && meta["waits_until"].is_null()).collect()
}

/// Waits until so many of a job's ticks are over.
pub(crate) fn wait_for(testbox: &TestBox, api: &mut Api, job: &str, count: usize) -> Vec<Value> {
    let mut metas = Vec::new();
    api.until(&format!("{count} ticks of {job} are over"), |_| {
        metas = finished(testbox, job);
        metas.len() >= count
    });
    metas
}

/// Reads a file of a tick's folder.
pub(crate) fn read(folder: &std::path::Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()))
}
