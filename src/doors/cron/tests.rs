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
    let settings = CronFiles {
        file: path.clone(),
        zone: Tz::UTC,
        folder: folder.path().join("cron"),
        keep: Duration::from_hours(24),
    };
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

/// A job by the clock whose runs take their time.
#[derive(Default)]
struct Overlap {
    lane: Option<lane::Lane>,
    /// When what runs will be over.
    until: DateTime<Utc>,
    /// When each tick was due, when its run began and when that ended.
    runs: Vec<(i64, DateTime<Utc>, DateTime<Utc>)>,
    left_out: usize,
    dropped: usize,
    most_waiting: usize,
    chance: u64,
}

impl Overlap {
    /// From nothing to most of an hour, and the same for the same number of runs.
    fn begin(&mut self, due: i64, now: DateTime<Utc>) {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let minutes = i64::try_from((self.chance >> 33) % 50).unwrap();
        self.until = now + TimeDelta::minutes(if minutes > 35 { 0 } else { minutes });
        self.runs.push((due, now, self.until));
    }

    /// Runs end that are over by now, and others begin.
    fn pass(&mut self, now: DateTime<Utc>) {
        while let Some(lane) = &mut self.lane
            && self.until <= now
        {
            let next = lane.waiting.pop_front();
            match next {
                Some(tick) => self.begin(tick.scheduled, self.until),
                None => self.lane = None,
            }
        }
    }

    fn tick(&mut self, tick: Tick, on_overlap: file::OnOverlap, now: DateTime<Utc>) {
        match lane::admit(self.lane.as_ref(), on_overlap) {
            lane::TickAdmission::Start => {
                self.lane = Some(lane::Lane::default());
                self.begin(tick.scheduled, now);
            }
            lane::TickAdmission::Wait => self.lane.as_mut().unwrap().waiting.push_back(tick),
            lane::TickAdmission::Replace => {
                self.dropped += self.lane.as_mut().unwrap().waiting.drain(..).count();
                self.runs.last_mut().unwrap().2 = now;
                self.begin(tick.scheduled, now);
            }
            lane::TickAdmission::LeaveOut | lane::TickAdmission::Full => self.left_out += 1,
        }
        self.most_waiting = self.most_waiting.max(self.lane.as_ref().map_or(0, |lane| lane.waiting.len()));
    }
}

#[rstest]
fn a_year_of_a_job_whose_runs_overlap(
    #[values(file::OnOverlap::Skip, file::OnOverlap::Queue, file::OnOverlap::Replace)] on_overlap: file::OnOverlap,
    #[values("Europe/Berlin", "Australia/Lord_Howe")] zone: &str,
) {
    let job = job("*/20 * * * *", zone);
    let (begin, end) =
        ("2026-01-01T00:00:01Z".parse().unwrap(), "2027-01-01T00:00:01Z".parse::<DateTime<Utc>>().unwrap());
    let mut overlap = Overlap { chance: 7, ..Overlap::default() };
    let (mut handled, mut now, mut ticks): (DateTime<Utc>, DateTime<Utc>, usize) = (begin, begin, 0);
    while now < end {
        overlap.pass(now);
        match decide(&job.schedule, job.zone, job.on_missed, handled, now) {
            TickDecision::Wait(next) => now = next.unwrap() + TimeDelta::milliseconds(300),
            TickDecision::Run(due) => {
                overlap.tick(Tick::new(&job, due, now), on_overlap, now);
                (handled, ticks) = (due, ticks + 1);
            }
            other => panic!("{other:?}"),
        }
    }
    // Every twenty minutes that passed, whatever the clocks showed: in Lord Howe they move by thirty.
    let expected = 365 * 24 * 3;
    assert!(ticks.abs_diff(expected) <= 1, "{ticks}");
    let runs = &overlap.runs;
    assert!(runs.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order, or one twice");
    assert!(runs.windows(2).all(|pair| pair[0].2 <= pair[1].1), "two at once");
    match on_overlap {
        file::OnOverlap::Skip => {
            assert_eq!(runs.len() + overlap.left_out, ticks);
            assert!(overlap.left_out > 1000 && runs.iter().all(|(due, began, _)| (began.timestamp() - due) < 60));
        }
        file::OnOverlap::Queue => {
            let waiting = overlap.lane.as_ref().map_or(0, |lane| lane.waiting.len());
            assert_eq!((runs.len() + waiting, overlap.left_out), (ticks, 0));
            assert!(overlap.most_waiting > 1 && overlap.most_waiting < lane::MOST_WAITING, "{}", overlap.most_waiting);
        }
        file::OnOverlap::Replace => {
            assert_eq!((runs.len(), overlap.dropped, overlap.left_out), (ticks, 0, 0));
            assert!(runs.iter().all(|(due, began, _)| (began.timestamp() - due) < 60));
        }
    }
}
