use super::*;
use rstest::rstest;

fn job(schedule: &str, zone: &str) -> Job {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cron.yaml");
    let text = format!("jobs: [{{name: j, schedule: '{schedule}', instruction: x, timezone: {zone}}}]");
    fs::write(&path, text).unwrap();
    file::read(&path, Tz::UTC).unwrap().remove(0)
}

#[test]
fn a_job_goes_on_where_it_was_unless_its_schedule_is_another() {
    let before = job("0 3 * * *", "Europe/Berlin");
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let note = note(&before, at);
    assert_eq!(note.key, "last/j");
    assert_eq!(until(&before, &note.value), Some(at));
    assert_eq!(until(&job("0 4 * * *", "Europe/Berlin"), &note.value), None);
    assert_eq!(until(&job("0 3 * * *", "UTC"), &note.value), None);
    assert_eq!(until(&before, &Value::Null), None);
}

#[rstest]
#[case(None, Tz::UTC)]
#[case(Some("Europe/Berlin"), Tz::Europe__Berlin)]
#[case(Some(":Asia/Tokyo"), Tz::Asia__Tokyo)]
#[case(Some("CET-1CEST,M3.5.0,M10.5.0/3"), Tz::UTC)]
#[case(Some("/etc/localtime"), Tz::UTC)]
#[case(Some(""), Tz::UTC)]
fn the_box_has_the_zone_that_it_names(#[case] name: Option<&str>, #[case] expected: Tz) {
    assert_eq!(zone(name), expected);
}

#[test]
fn a_file_that_is_written_anew_has_another_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cron.yaml");
    assert_eq!(stamp(&path), None);
    fs::write(&path, "a").unwrap();
    let first = stamp(&path);
    // Of the same length, in the same instant even.
    fs::write(folder.path().join("new"), "b").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert!(first.is_some() && stamp(&path) != first);
}

#[test]
fn a_file_is_read_when_it_lies_still_and_counts_when_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cron.yaml");
    let text = |name: &str| format!("jobs: [{{name: {name}, schedule: '* * * * *', instruction: x}}]");
    fs::write(&path, text("one")).unwrap();
    let settings =
        Settings { file: path.clone(), zone: None, folder: folder.path().join("cron"), keep: Duration::from_hours(24) };
    let mut cron = Cron::load(settings).unwrap();
    let now = SystemTime::now();
    let write = |text: &str, age: u64| {
        fs::write(&path, text).unwrap();
        fs::File::open(&path).unwrap().set_modified(now - Duration::from_millis(age)).unwrap();
    };
    assert_eq!(cron.reload(now), News::None);
    write(&text("three"), 900);
    assert_eq!((cron.reload(now), cron.jobs[0].name.as_str()), (News::Unsettled, "one"));
    assert_eq!((cron.reload(now + SETTLED), cron.jobs[0].name.as_str()), (News::Jobs, "three"));
    assert_eq!(cron.reload(now + SETTLED), News::None);
    write("jobs: [", 5_000);
    assert_eq!((cron.reload(now), cron.jobs[0].name.as_str()), (News::None, "three"));
    fs::remove_file(&path).unwrap();
    assert_eq!((cron.reload(now), cron.jobs[0].name.as_str()), (News::None, "three"));
    // By a clock that is put back, it was written in the future.
    write(&text("four"), 0);
    assert_eq!((cron.reload(now - Duration::from_hours(1)), cron.jobs[0].name.as_str()), (News::Jobs, "four"));
}
