use super::*;
use crate::desk::options::{self, Place};
use rstest::rstest;
use std::collections::BTreeSet;

fn jobs(text: &str) -> Vec<Job> {
    parse(text, Tz::UTC).unwrap_or_else(|(at, why)| panic!("{at}: {why}"))
}

/// A file of one job with these lines, its fields at column 3.
fn one(lines: &str) -> String {
    let head = "jobs:\n- name: a\n  schedule: 0 3 * * *\n  instruction: go\n";
    lines.lines().fold(head.to_owned(), |text, line| text + "  " + line + "\n")
}

/// A Windows editor's byte order mark, and the switches of YAML 1.1.
#[test]
fn a_file_is_read_as_people_write_it() {
    let read = |word: &str| {
        let text = format!("\u{feff}no_continue: {word}\n{}", one(&format!("enabled: {word}")));
        jobs(&text).remove(0)
    };
    for (word, on) in [("yes", true), ("on", true), ("true", true), ("No", false), ("off", false), ("false", false)] {
        let job = read(word);
        assert_eq!((job.enabled, job.no_continue), (on, on), "{word}");
    }
    assert_eq!((read("").enabled, read("~").no_continue), (true, false));
    let (at, why) = parse(&one("enabled: maybe"), Tz::UTC).unwrap_err();
    assert!(at.starts_with(":5:") && why.contains("true or false"), "{at}: {why}");
}

#[test]
fn the_predecessors_file_is_read_as_it_is() {
    let text = "
model: haiku
effort: medium
append_system_prompt: |
  The current date and time is {system_datetime}.
telegram_chat_id: '-1001234567890'

jobs:
  - name: every_thirty_seconds
    schedule: \"*/30 * * * * *\"
    instruction: |
      Write the time to ./status.txt.

  - name: hourly
    schedule: \"0 * * * *\"
    workspace: .
    model: sonnet
    thinking: high
    telegram_chat_id: 5
    no_continue: true
    instruction: look

  - name: silent
    schedule: \"0 3 * * *\"
    workspace: reports/daily
    telegram_chat_id: 0
    thinking: none
    append_system_prompt: ''
    instruction: look
";
    let jobs = jobs(text);
    let [first, hourly, silent] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((first.name.as_str(), first.schedule.to_string()), ("every_thirty_seconds", "*/30 * * * * *".into()));
    assert_eq!((first.model.as_deref(), first.effort), (Some("haiku"), Some(Effort::Medium)));
    assert_eq!((first.chat, first.no_continue, first.workspace.as_str()), (Some(-1_001_234_567_890), false, ""));
    assert_eq!(first.append_system_prompt.as_deref(), Some("The current date and time is {system_datetime}.\n"));
    assert_eq!((first.timeout, first.zone, first.retries), (USUAL_TIMEOUT, Tz::UTC, 0));
    assert_eq!((first.on_overlap, first.on_missed, first.enabled), (OnOverlap::Skip, OnMissed::Skip, true));
    assert_eq!((hourly.model.as_deref(), hourly.effort), (Some("sonnet"), Some(Effort::High)));
    assert_eq!((hourly.chat, hourly.no_continue, hourly.workspace.as_str()), (Some(5), true, ""));
    assert_eq!((silent.chat, silent.append_system_prompt.as_ref(), silent.effort), (None, None, Some(Effort::Medium)));
    assert_eq!(silent.workspace, "reports/daily");
}

#[test]
fn a_job_has_what_stands_at_the_top_unless_it_has_its_own() {
    let head = "timezone: Asia/Tokyo\ntimeout: 90\non_overlap: queue\non_missed: run_once\nretries: 2\n\
                max_budget_usd: 1.5\nno_continue: true\nwebhook: https://example.com/hook\nsystem_prompt: top\n";
    let own = "timezone: UTC\ntimeout: 2h\non_overlap: replace\non_missed: skip\nretries: 0\nmax_budget_usd: 3\n\
               no_continue: false\nwebhook: http://n8n/own\nsystem_prompt: own\nenabled: false";
    let top = jobs(&(head.to_owned() + &one(""))).remove(0);
    assert_eq!((top.zone, top.timeout, top.retries), (Tz::Asia__Tokyo, Duration::from_secs(90), 2));
    assert_eq!((top.on_overlap, top.on_missed, top.no_continue), (OnOverlap::Queue, OnMissed::RunOnce, true));
    assert_eq!((top.max_budget_usd, top.webhook.as_deref()), (Some(1.5), Some("https://example.com/hook")));
    assert_eq!((top.system_prompt.as_deref(), top.enabled), (Some("top"), true));
    let own = jobs(&(head.to_owned() + &one(own))).remove(0);
    assert_eq!((own.zone, own.timeout, own.retries), (Tz::UTC, Duration::from_hours(2), 0));
    assert_eq!((own.on_overlap, own.on_missed, own.no_continue), (OnOverlap::Replace, OnMissed::Skip, false));
    assert_eq!((own.max_budget_usd, own.webhook.as_deref()), (Some(3.0), Some("http://n8n/own")));
    assert_eq!((own.system_prompt.as_deref(), own.enabled), (Some("own"), false));
}

#[test]
fn the_boxs_zone_counts_where_the_file_names_none() {
    assert_eq!(parse(&one(""), Tz::Asia__Tokyo).unwrap()[0].zone, Tz::Asia__Tokyo);
}

#[rstest]
#[case(
    "timeout: 0",
    ":5:12",
    "timeout: must be seconds, or a number with s, m, h or d, such as 90, 30m or 2h, at most 30d"
)]
#[case("timeout: 31d", ":5:12", "timeout: must be seconds")]
#[case("timeout: soon", ":5:12", "timeout: must be seconds")]
#[case("retries: 21", ":5:12", "retries: \"21\": a whole number from 0 to 20 is allowed")]
#[case("retries: -1", ":5:12", "retries: \"-1\": a whole number from 0 to 20 is allowed")]
#[case("max_budget_usd: 0", ":5:19", "max_budget_usd: must be a number above 0")]
#[case(
    "timezone: Europe/Berln",
    ":5:13",
    "timezone: there is no time zone \"Europe/Berln\"; names of the time zone database are allowed, such as Europe/Berlin"
)]
#[case("timezone: utc+1", ":5:13", "timezone: there is no time zone \"utc+1\"")]
#[case("webhook: ftp://x/", ":5:12", "webhook: \"ftp://x/\" is no address: http://... and https://... are allowed")]
#[case(
    "telegram_chat_id: me",
    ":5:21",
    "telegram_chat_id: \"me\" is no chat's id: a whole number is, such as -1001234567890; 0 is none"
)]
#[case(
    "workspace: ../x",
    ":5:14",
    "workspace: \"../x\" cannot be a job's workspace: a folder below the workspace folder is allowed, such as reports/daily"
)]
#[case("workspace: /etc", ":5:14", "workspace: \"/etc\" cannot be a job's workspace")]
#[case("on_overlap: wait", ":5:15", "on_overlap: unknown variant 'wait', expected one of 'skip', 'queue', 'replace'")]
#[case("on_missed: run", ":5:14", "on_missed: unknown variant 'run', expected 'skip' or 'run_once'")]
#[case("effort: hihg", ":5:11", "effort: unknown variant 'hihg'; did you mean 'high'?")]
#[case("enabled: maybe", ":5:12", "enabled: invalid type: string \"maybe\", expected a boolean")]
#[case("on_mised: skip", ":5:3", "unknown field 'on_mised'; did you mean 'on_missed'?")]
#[case(
    "model: ''",
    ":5:10",
    "model: must be an alias (haiku, sonnet, opus, opusplan, sonnet[1m]) or a full model name"
)]
#[case("model: [a]", ":5:10", "model: invalid type: sequence, expected text")]
#[case("model: --help", ":5:10", "model: must be an alias")]
#[case("system_prompt: \"a\\0b\"", ":5:18", "system_prompt: must not hold a NUL character")]
#[case("name: b", ":5:3", "job 1: duplicate field 'name'")]
fn a_mistake_in_a_job_is_named_where_it_stands(#[case] line: &str, #[case] at: &str, #[case] why: &str) {
    let (found_at, found) = parse(&one(line), Tz::UTC).unwrap_err();
    assert!(found.starts_with(&format!("job \"a\": {why}")) || found.starts_with(why), "{found_at}: {found}");
    assert_eq!(found_at, at, "{found}");
}

#[rstest]
#[case("", "", "")]
#[case("jobs: []", "", "there is no job in it: 'jobs' is a list of at least one")]
#[case("model: haiku", "", "missing field 'jobs'")]
#[case("jobs:\n- name: a\n  schedule: '* * * * *'\n", ":2:3", "job \"a\": missing field 'instruction'")]
#[case("jobs:\n- schedule: '* * * * *'\n  instruction: x\n", ":2:3", "job 1: missing field 'name'")]
#[case(
    "jobs:\n- {name: a/b, schedule: '* * * * *', instruction: x}",
    ":2:10",
    "job \"a/b\": name: \"a/b\" cannot be a job's name"
)]
#[case(
    "jobs:\n- {name: .., schedule: '* * * * *', instruction: x}",
    ":2:10",
    "job \"..\": name: \"..\" cannot be a job's name"
)]
#[case(
    "jobs:\n- {name: a, schedule: 0 3 * *, instruction: x}",
    ":2:23",
    "job \"a\": schedule: \"0 3 * *\" has 4 fields"
)]
#[case("jbos: []", ":1:1", "unknown field 'jbos'; did you mean 'jobs'?")]
#[case("zzzzzzzzz: 1\njobs: []", ":1:1", "unknown field 'zzzzzzzzz', expected one of 'jobs', ")]
#[case("jobs: {a: b}", ":1:7", "jobs: invalid type: map, expected a sequence")]
#[case("jobs: [", "", "")]
#[case(
    "jobs:\n- name: a\n  schedule: * * * * *\n  instruction: x\n",
    ":3:14",
    "did not find expected alphabetic or numeric character; text that begins with * or & needs quotes"
)]
fn a_mistake_in_the_file_is_named(#[case] text: &str, #[case] at: &str, #[case] why: &str) {
    let (found_at, found) = parse(text, Tz::UTC).unwrap_err();
    assert!(found.starts_with(why) && !found.is_empty(), "{found_at}: {found}");
    assert!(at.is_empty() || found_at == at, "{found_at}: {found}");
}

/// The keys that are no options of the run: what makes a job of it.
const OWN: [&str; 10] = [
    "jobs",
    "name",
    "schedule",
    "enabled",
    "timezone",
    "telegram_chat_id",
    "on_overlap",
    "on_missed",
    "retries",
    "thinking",
];

#[test]
fn the_keys_are_those_of_the_table_of_options() {
    let known = |text: &str| -> BTreeSet<String> {
        let (_, why) = parse(text, Tz::UTC).unwrap_err();
        let (_, keys) = why.split_once(", expected one of ").unwrap_or_else(|| panic!("{why}"));
        keys.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let keys = &known("zzzzzzzzz: 1\njobs: []") | &known(&one("zzzzzzzzz: 1"));
    let options: BTreeSet<String> = keys.into_iter().filter(|key| !OWN.contains(&key.as_str())).collect();
    assert_eq!(options, options::at(Place::Cron).map(|(name, _)| name.to_owned()).collect());
}

#[test]
fn two_jobs_have_two_names() {
    let job = |name: &str| format!("- name: {name}\n  schedule: 0 3 * * *\n  instruction: go\n");
    let (at, why) = parse(&format!("jobs:\n{}{}{}", job("a"), job("A"), job("a")), Tz::UTC).unwrap_err();
    assert_eq!((at.as_str(), why.as_str()), (":8:3", "two jobs are called \"a\": each needs a name of its own"));
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    let error = read(Path::new("/no/such/file"), Tz::UTC).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the jobs in /no/such/file: No such file"), "{error}");
}

/// What the documents show works.
#[rstest]
#[case::docs(include_str!("../../../../docs/cron.md"), 3)]
#[case::readme(include_str!("../../../../README.md"), 1)]
fn the_documents_examples_are_right(#[case] text: &str, #[case] count: usize) {
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let found: Vec<Vec<Job>> = blocks.filter(|block| block.contains("jobs:")).map(jobs).collect();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [count]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_jobs_or_an_error(text in "(jobs:\n- )?[-a-z:{}\\[\\]&*!'\"|>#% \n0-9]{0,80}") {
        let _ = parse(&text, Tz::UTC);
    }
}
