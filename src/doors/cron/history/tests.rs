use super::*;
use crate::doors::cron::file;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rstest::rstest;

fn tick(job: &str, scheduled: &str) -> Tick {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cron.yaml");
    let text = format!("jobs: [{{name: {job}, schedule: 0 3 * * *, instruction: do it, timezone: Europe/Berlin}}]");
    fs::write(&path, text).unwrap();
    let at: DateTime<Utc> = scheduled.parse().unwrap();
    Tick::new(&file::read(&path, Tz::UTC).unwrap()[0], at, at)
}

fn history(folder: &tempfile::TempDir, days: u64) -> History {
    History::new(folder.path().join("cron"), Duration::from_hours(24 * days))
}

#[rstest]
#[case("/workspace", "workspace")]
#[case("/workspace/reports/daily", "workspace_reports_daily")]
#[case("/a//b-c.d/", "a_b_c_d")]
#[case("/", "workspace")]
#[case("/ärger", "rger")]
fn a_workspaces_name_is_the_predecessors(#[case] path: &str, #[case] expected: &str) {
    assert_eq!(slug(Path::new(path)), expected);
}

#[test]
fn the_run_before_is_the_same_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, 1);
    let place = Path::new("/workspace");
    for (job, at) in [
        ("report", "2026-01-01T03:00:00Z"),
        ("report", "2026-01-03T03:00:00Z"),
        ("report", "2026-01-05T03:00:00Z"),
        ("daily-report", "2026-01-04T02:00:00Z"),
        ("reports", "2026-01-04T02:30:00Z"),
    ] {
        history.folder(&tick(job, at), place).unwrap();
    }
    let before = |job: &str, at: &str| {
        let found = history.before(&tick(job, at), place);
        found.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(before("report", "2026-01-05T03:00:00Z").as_deref(), Some("20260103-030000-report"));
    assert_eq!(before("report", "2026-01-01T03:00:00Z"), None);
    assert_eq!(before("daily-report", "2026-01-04T02:00:00Z"), None);
    assert_eq!(history.before(&tick("report", "2026-01-05T03:00:00Z"), Path::new("/other")), None);
}

#[test]
fn what_is_written_down_of_one_that_has_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let tick = tick("nightly", "2026-03-29T01:00:00Z");
    let history = history(&folder, 1);
    let place = history.folder(&tick, Path::new("/workspace")).unwrap();
    assert!(place.path().ends_with("cron/history/workspace/20260329-010000-nightly"));
    history.finish(&place, &tick, None, Some("no such folder")).unwrap();
    // A server that was killed after it had written that writes it again.
    history.finish(&place, &tick, None, Some("no such folder")).unwrap();
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    assert_eq!((read("result.txt").as_str(), read("stderr.log").as_str()), ("", "no such folder\n"));
    let meta: Value = serde_json::from_str(&read("meta.json")).unwrap();
    assert_eq!(
        (&meta["name"], &meta["error"], &meta["run_id"]),
        (&json!("nightly"), &json!("no such folder"), &Value::Null)
    );
    let lines = fs::read_to_string(folder.path().join("cron/nightly.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&line["job"], &line["stderr"], &line["text"]),
        (&json!("nightly"), &json!("no such folder"), &json!(""))
    );
    assert_eq!((&line["history_dir"], &line["scheduled_at"]), (&json!(place.path()), &meta["scheduled_at"]));
    // The first moment after the gap, by clocks that were put forward.
    assert_eq!(meta["scheduled_at"], "2026-03-29T03:00:00+02:00");
}

#[test]
fn what_is_older_than_it_is_kept_goes() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, 30);
    let now = SystemTime::now();
    let place = Path::new("/w");
    let today: DateTime<Utc> = now.into();
    let at = |days: i64| (today - chrono::TimeDelta::days(days)).to_rfc3339();
    let age = |path: &Path, days: u64| {
        fs::File::open(path).unwrap().set_modified(now - Duration::from_hours(24 * days)).unwrap();
    };
    let old = history.folder(&tick("old", &at(40)), place).unwrap();
    fs::write(old.path().join("activity.jsonl"), "x").unwrap();
    age(old.path(), 40);
    // It has waited for a limit, and is written to.
    let busy = history.folder(&tick("busy", &at(40)), place).unwrap();
    let new = history.folder(&tick("new", &at(20)), place).unwrap();
    let gone = history.folder(&tick("gone", &at(40)), Path::new("/else")).unwrap();
    age(gone.path(), 40);
    // Somebody's own.
    let own = history.runs_in(place).join("20000101-notes");
    fs::create_dir(&own).unwrap();
    age(&own, 400);
    let target = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(target.path(), history.runs_in(place).join("20000101-000000-link")).unwrap();

    assert_eq!(history.prune(now).unwrap(), 2);
    let there = [old.path(), busy.path(), new.path(), gone.path(), &own, target.path()].map(Path::exists);
    assert_eq!(there, [false, true, true, false, true, true]);
    assert!(!history.runs_in(Path::new("/else")).exists());
    let nothing = History::new(folder.path().join("none"), Duration::ZERO);
    assert_eq!(nothing.prune(now).unwrap(), 0);
}
