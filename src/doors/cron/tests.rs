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
