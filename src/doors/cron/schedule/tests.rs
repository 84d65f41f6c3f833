use super::*;
use chrono::{Datelike, Duration, MappedLocalTime, NaiveDate, NaiveTime, Timelike, Weekday};
use proptest::prelude::*;
use rstest::rstest;

fn schedule(text: &str) -> CronExpression {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[rstest]
#[case("* * * *", "has 4 fields; five are allowed")]
#[case("", "has 0 fields; five are allowed")]
#[case("0 0 0 0 0 0 0", "has 7 fields; five are allowed")]
#[case("60 * * * *", "the minute \"60\" cannot be; 0 to 59 are allowed")]
#[case("* 24 * * *", "the hour \"24\" cannot be; 0 to 23 are allowed")]
#[case("* * 0 * *", "the day of the month \"0\" cannot be; 1 to 31 and L are allowed")]
#[case("* * * 13 *", "the month \"13\" cannot be; 1 to 12 and JAN to DEC are allowed")]
#[case("* * * * 8", "the weekday \"8\" cannot be; 0 to 7 and SUN to SAT are allowed")]
#[case("60 * * * * *", "the second \"60\" cannot be; 0 to 59 are allowed")]
#[case("*/0 * * * *", "the minute \"*/0\" cannot be")]
#[case("5-1 * * * *", "the minute \"5-1\" cannot be")]
#[case("* * * foo *", "the month \"foo\" cannot be")]
#[case("0 0 30 2 *", "never comes: no month it names has such a day")]
#[case("0 0 31 4,6,9,11 *", "never comes")]
#[case("@fortnightly", "is no cron expression")]
#[case("0, * * * *", "the minute \"0,\" has nothing before, after or between its commas")]
#[case("0, 3 * * * *", "the second \"0,\" has nothing")]
#[case("0 ,3 * * * *", "the minute \",3\" has nothing")]
#[case("0 1,,2 * * *", "the hour \"1,,2\" has nothing")]
#[case("* * * , *", "the month \",\" has nothing")]
#[case("*/90 * * * *", "the minute \"*/90\" cannot be; a step is at most 60, the number of its values")]
#[case("*/90 * * * * *", "the second \"*/90\" cannot be; a step is at most 60")]
#[case("0 */36 * * *", "the hour \"*/36\" cannot be; a step is at most 24")]
#[case("0/90 * * * *", "the minute \"0/90\" cannot be; a step is at most 60")]
#[case("10-50/61 * * * *", "the minute \"10-50/61\" cannot be; a step is at most 60")]
#[case("5,*/61 * * * *", "the minute \"5,*/61\" cannot be; a step is at most 60")]
#[case("0 0 */40 * *", "the day of the month \"*/40\" cannot be; a step is at most 31")]
#[case("0 0 1 */13 *", "the month \"*/13\" cannot be; a step is at most 12")]
#[case("0 0 * * */8", "the weekday \"*/8\" cannot be; a step is at most 7")]
#[case("*/99999999999 * * * *", "a step is at most 60")]
#[case("*/ * * * *", "the minute \"*/\" cannot be")]
fn what_is_wrong_is_named(#[case] text: &str, #[case] why: &str) {
    let error = text.parse::<CronExpression>().unwrap_err();
    assert!(error.starts_with(&format!("{text:?} ")) && error.contains(why), "{error}");
}

/// Every step of every field: those up to the number of its values are read, all others refused.
#[test]
fn a_step_is_at_most_the_number_of_values() {
    for (at, (name, _, values)) in FIELDS.iter().enumerate() {
        for step in 1..=values + 40 {
            let fields: Vec<String> =
                (0..6).map(|field| if field == at { format!("*/{step}") } else { "*".to_owned() }).collect();
            let read = fields.join(" ").parse::<CronExpression>();
            assert_eq!(read.is_ok(), step <= *values, "{name}: {read:?}");
        }
    }
}

/// An empty item in any place of any field.
#[test]
fn an_item_is_never_empty() {
    for at in 0..6 {
        for wrong in [",1", "1,", "1,,2", ",", ",*", "*,", "1-2,"] {
            for fields in [5, 6] {
                let field = |field: usize| if field == at % fields { wrong } else { "*" };
                let text = (0..fields).map(field).collect::<Vec<_>>().join(" ");
                let error = text.parse::<CronExpression>().unwrap_err();
                assert!(error.contains("its commas"), "{error}");
            }
        }
    }
}

#[rstest]
#[case("*/60 * * * *", "2026-01-01T01:00:00Z")]
#[case("0 */24 * * *", "2026-01-02T00:00:00Z")]
#[case("@hourly", "2026-01-01T01:00:00Z")]
#[case("@midnight", "2026-01-02T00:00:00Z")]
#[case(" 5/20 * * * * ", "2026-01-01T00:05:00Z")]
#[case("0 0 29 2 *", "2028-02-29T00:00:00Z")]
#[case("30 0 0 * * *", "2026-01-01T00:00:30Z")]
#[case("0 12 * JAN MON-FRI", "2026-01-01T12:00:00Z")]
#[case("0 0 L * *", "2026-01-31T00:00:00Z")]
#[case("0 0 13 * FRI", "2026-01-02T00:00:00Z")]
#[case("0 0 * * 7", "2026-01-04T00:00:00Z")]
#[case("0 0 */9 * */1", "2026-01-10T00:00:00Z")]
#[case("0 0 */9 * 0-6", "2026-01-10T00:00:00Z")]
#[case("0 0 1-31 * */5", "2026-01-02T00:00:00Z")]
#[case("0 0 13 * 0-6", "2026-01-02T00:00:00Z")]
fn what_can_be_written(#[case] text: &str, #[case] next: &str) {
    assert_eq!(schedule(text).next(at("2026-01-01T00:00:00Z"), Tz::UTC), Some(at(next)));
}

/// When a job at a fixed time of the day is due in a year, worked out from the calendar alone: one that the clocks leave
/// out when that is over, one that comes twice the first time.
fn fixed(zone: Tz, year: i32, hour: u32, minute: u32, on: impl Fn(NaiveDate) -> bool) -> Vec<DateTime<Utc>> {
    let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
    let days = first.iter_days().take_while(|day| day.year() == year).filter(|day| on(*day));
    let resolve = |day: NaiveDate| {
        let wanted = day.and_time(NaiveTime::from_hms_opt(hour, minute, 0).unwrap());
        (0..180).find_map(|minutes| match zone.from_local_datetime(&(wanted + Duration::minutes(minutes))) {
            MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => Some(time.to_utc()),
            MappedLocalTime::None => None,
        })
    };
    days.map(|day| resolve(day).unwrap()).collect()
}

/// When a job at intervals is due in a year: in every minute that passes and whose clock shows such a time.
fn interval(zone: Tz, year: i32, matches: impl Fn(u32, u32) -> bool) -> Vec<DateTime<Utc>> {
    let from = zone.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap().to_utc();
    let minutes = (0..366 * 24 * 60).map(|minute| from + Duration::minutes(minute));
    let local = minutes.map(|time| time.with_timezone(&zone)).take_while(|time| time.year() == year);
    local.filter(|time| matches(time.hour(), time.minute())).map(|time| time.to_utc()).collect()
}

fn every_day(_: NaiveDate) -> bool {
    true
}

/// What a year of a job should be, by its expression.
fn expected(expression: &str, zone: Tz, year: i32) -> Vec<DateTime<Utc>> {
    match expression {
        "30 2 * * *" => fixed(zone, year, 2, 30, every_day),
        "15 2 * * *" => fixed(zone, year, 2, 15, every_day),
        "45 1 * * *" => fixed(zone, year, 1, 45, every_day),
        "0 3 * * SUN" => fixed(zone, year, 3, 0, |day| day.weekday() == Weekday::Sun),
        "0 9 * * 1-5" => fixed(zone, year, 9, 0, |day| day.weekday().number_from_monday() < 6),
        "0 0 1 * *" => fixed(zone, year, 0, 0, |day| day.day() == 1),
        "59 23 31 12 *" => fixed(zone, year, 23, 59, |day| (day.month(), day.day()) == (12, 31)),
        "30 2,14 * * *" => {
            let mut times = [fixed(zone, year, 2, 30, every_day), fixed(zone, year, 14, 30, every_day)].concat();
            times.sort_unstable();
            times
        }
        "0,20 2 * * *" => {
            let mut times = [fixed(zone, year, 2, 0, every_day), fixed(zone, year, 2, 20, every_day)].concat();
            times.sort_unstable();
            // In the gap they are one.
            times.dedup();
            times
        }
        "*/20 * * * *" => interval(zone, year, |_, minute| minute % 20 == 0),
        "*/30 1-2 * * *" => interval(zone, year, |hour, minute| minute % 30 == 0 && (1..=2).contains(&hour)),
        "10 */2 * * *" => interval(zone, year, |hour, minute| minute == 10 && hour % 2 == 0),
        _ => unreachable!(),
    }
}

const EXPRESSIONS: [&str; 12] = [
    "30 2,14 * * *",
    "0,20 2 * * *",
    "30 2 * * *",
    "15 2 * * *",
    "45 1 * * *",
    "0 3 * * SUN",
    "0 9 * * 1-5",
    "0 0 1 * *",
    "59 23 31 12 *",
    "*/20 * * * *",
    "*/30 1-2 * * *",
    "10 */2 * * *",
];

/// A job and a clock that is wherever it is put.
struct Simulation {
    schedule: CronExpression,
    zone: Tz,
    on_missed: OnMissed,
    handled: DateTime<Utc>,
    /// What was run: when it was due, and when that was noticed.
    runs: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    left_out: Vec<DateTime<Utc>>,
    counted_anew: usize,
}

impl Simulation {
    fn new(expression: &str, zone: Tz, on_missed: OnMissed, begin: DateTime<Utc>) -> Self {
        let (runs, left_out, counted_anew) = (Vec::new(), Vec::new(), 0);
        Self { schedule: schedule(expression), zone, on_missed, handled: begin, runs, left_out, counted_anew }
    }

    /// The door looks at its clock; when it has to look again.
    fn look(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        loop {
            match decide(&self.schedule, self.zone, self.on_missed, self.handled, now) {
                TickDecision::Wait(next) => return next,
                TickDecision::Run(due) | TickDecision::MakeUp(due) => {
                    self.runs.push((due, now));
                    self.handled = due;
                }
                TickDecision::LeaveOut(due) => {
                    self.left_out.push(due);
                    self.handled = due;
                }
                TickDecision::CountAnew => {
                    self.counted_anew += 1;
                    self.handled = now;
                }
            }
        }
    }

    /// Time passes until `end`, without a step. The door is never on time to the second.
    fn pass(&mut self, mut now: DateTime<Utc>, end: DateTime<Utc>) {
        let mut late = 0;
        while now < end {
            late = (late * 7 + 3) % 11;
            let next = self.look(now).unwrap_or(end) + Duration::milliseconds(late * 400);
            now = next.min(now + Duration::hours(6));
        }
    }

    fn due(&self) -> Vec<DateTime<Utc>> {
        self.runs.iter().map(|(due, _)| *due).collect()
    }
}

#[rstest]
fn a_year_of_jobs_with_the_clocks_going_forward_and_back(
    #[values(Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::UTC, Tz::America__New_York)] zone: Tz,
    #[values(2025, 2026)] year: i32,
) {
    let on_missed = if year % 2 == 0 { OnMissed::Skip } else { OnMissed::RunOnce };
    let begin = zone.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap().to_utc() - Duration::seconds(1);
    let end = zone.with_ymd_and_hms(year + 1, 1, 1, 0, 0, 0).unwrap().to_utc() - Duration::seconds(1);
    for expression in EXPRESSIONS {
        let mut simulation = Simulation::new(expression, zone, on_missed, begin);
        simulation.pass(begin, end);
        let expected = expected(expression, zone, year);
        let found = simulation.due();
        let differ = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert_eq!((differ, expected.len()), (None, found.len()), "{expression} in {zone}");
        assert!(simulation.left_out.is_empty());
    }
}

/// The hours themselves, by hand.
#[rstest]
#[case::gap(Tz::Europe__Berlin, "30 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"])]
#[case::fold(Tz::Europe__Berlin, "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"])]
#[case::half_an_hour_gap(Tz::Australia__Lord_Howe, "15 2 * * *", "2026-10-03T12:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"])]
#[case::half_an_hour_fold(Tz::Australia__Lord_Howe, "45 1 * * *", "2026-04-04T12:00:00Z", &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"])]
#[case::two_times_a_day(Tz::Europe__Berlin, "30 2,14 * * *", "2026-03-28T12:00:00Z", &["2026-03-28T13:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T12:30:00Z"])]
#[case::interval_over_a_gap(Tz::Europe__Berlin, "0 * * * *", "2026-03-29T00:30:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"])]
#[case::interval_in_a_fold(Tz::Europe__Berlin, "*/30 2 * * *", "2026-10-24T23:00:00Z", &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:00:00Z"])]
fn hours_that_are_left_out_or_come_twice(
    #[case] zone: Tz,
    #[case] expression: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    let schedule = schedule(expression);
    let times = std::iter::successors(schedule.next(at(after), zone), |time| schedule.next(*time, zone));
    let expected: Vec<DateTime<Utc>> = expected.iter().map(|time| at(time)).collect();
    assert_eq!(times.take(expected.len()).collect::<Vec<_>>(), expected);
}

/// The machine sleeps again and again; what was due meanwhile is left out, or made up for by one run.
#[rstest]
fn ticks_that_nobody_was_there_for(
    #[values(OnMissed::Skip, OnMissed::RunOnce)] on_missed: OnMissed,
    #[values(Tz::Europe__Berlin, Tz::Australia__Lord_Howe)] zone: Tz,
) {
    let begin = at("2026-03-01T00:00:07Z");
    for expression in ["*/20 * * * *", "30 2 * * *", "10 */2 * * *"] {
        let ticks = expected(expression, zone, 2026);
        let within = |from: DateTime<Utc>, to: DateTime<Utc>| {
            let after = ticks.partition_point(|tick| *tick <= from);
            ticks[after..].iter().copied().take_while(move |tick| *tick <= to).collect::<Vec<_>>()
        };
        let mut simulation = Simulation::new(expression, zone, on_missed, begin);
        let mut now = begin;
        for nap in 0..400 {
            // Awake for a while, asleep for another.
            let asleep = now + Duration::minutes(17 + nap * 13 % 900);
            simulation.pass(now, asleep);
            // The last look may have been later than that by a moment.
            let last_look = simulation.runs.last().map_or(begin, |(_, seen)| *seen).max(asleep);
            let awake = last_look + Duration::seconds(61 + nap * 7919 % 40_000);
            let missed = within(simulation.handled, awake);
            let before = simulation.runs.len();
            simulation.look(awake);
            let made_up: Vec<DateTime<Utc>> = simulation.runs[before..].iter().map(|(due, _)| *due).collect();
            let punctual = missed.last().is_some_and(|last| awake - *last <= PUNCTUAL);
            let expected = match (missed.last(), on_missed) {
                (Some(last), OnMissed::RunOnce) => vec![*last],
                (Some(last), OnMissed::Skip) if punctual => vec![*last],
                _ => vec![],
            };
            assert_eq!(made_up, expected, "{expression}, {missed:?} until {awake}");
            now = awake;
        }
        let due = simulation.due();
        assert!(due.windows(2).all(|pair| pair[0] < pair[1]), "one ran twice, or out of order");
        assert!(due.iter().all(|due| ticks.binary_search(due).is_ok()), "one ran that is no tick");
        assert!(due.len() > 100);
    }
}

#[test]
fn a_delay_of_a_moment_loses_no_tick() {
    let begin = at("2026-01-01T00:00:00Z");
    let mut simulation = Simulation::new("* * * * * *", Tz::UTC, OnMissed::Skip, begin);
    simulation.look(begin + Duration::milliseconds(3_400));
    let expected: Vec<DateTime<Utc>> = (1..=3).map(|second| begin + Duration::seconds(second)).collect();
    assert_eq!(simulation.due(), expected);
    // Longer than that, and it goes on with the last one.
    simulation.look(begin + Duration::seconds(300));
    assert_eq!((simulation.runs.len(), simulation.handled), (4, begin + Duration::seconds(300)));
}

#[rstest]
#[case::back_a_little(-Duration::seconds(30), 0)]
#[case::back_within_the_limit(-Duration::minutes(170), 0)]
#[case::back_a_lot(-Duration::hours(5), 1)]
#[case::back_for_years(-Duration::days(2_000), 1)]
#[case::forward_a_little(Duration::seconds(30), 0)]
#[case::forward_a_lot(Duration::days(3), 0)]
fn a_clock_that_is_put_forward_or_back(
    #[case] step: Duration,
    #[case] counted_anew: usize,
    #[values(OnMissed::Skip, OnMissed::RunOnce)] on_missed: OnMissed,
) {
    let begin = at("2026-06-01T00:00:30Z");
    let mut simulation = Simulation::new("*/10 * * * *", Tz::Europe__Berlin, on_missed, begin);
    let stepped = begin + Duration::hours(10);
    simulation.pass(begin, stepped);
    let before = simulation.runs.len();
    let now = stepped + step;
    simulation.pass(now, now + Duration::hours(10));
    assert_eq!((before, simulation.counted_anew), (60, counted_anew));
    let due = simulation.due();
    let after = &due[before..];
    assert!(after.windows(2).all(|pair| pair[1] - pair[0] == Duration::minutes(10)), "{after:?}");
    if counted_anew == 0 {
        // What has run does not run again.
        assert!(due.windows(2).all(|pair| pair[0] < pair[1]), "{due:?}");
    }
    // After a step back by more it counts from then.
    let first = after[0] - now;
    let made_up = on_missed == OnMissed::RunOnce && step > PUNCTUAL;
    let least = if made_up { -Duration::minutes(10) } else { -PUNCTUAL };
    let most =
        if counted_anew == 0 && step < Duration::zero() { Duration::minutes(10) - step } else { Duration::minutes(10) };
    assert!(first >= least && first <= most, "{first}");
}

#[test]
fn one_that_never_comes_again_waits_for_ever() {
    let schedule = schedule("0 0 1 1 *");
    let late = Utc.with_ymd_and_hms(4999, 12, 31, 0, 0, 0).unwrap();
    let decision = decide(&schedule, Tz::UTC, OnMissed::Skip, late + Duration::days(400), late + Duration::days(400));
    assert!(matches!(decision, TickDecision::Wait(None | Some(_))));
}

proptest! {
    /// The last tick is the one before which no other comes.
    #[test]
    fn the_last_tick_is_one_of_the_next_ones(
        seconds in 1_700_000_000_i64..1_900_000_000, gap in 1_i64..100_000, pick in 0..EXPRESSIONS.len(),
        zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__St_Johns]),
    ) {
        let schedule = schedule(EXPRESSIONS[pick]);
        let after = DateTime::from_timestamp(seconds, 0).unwrap();
        let now = after + Duration::seconds(gap);
        let times = std::iter::successors(schedule.next(after, zone), |time| schedule.next(*time, zone));
        let walked = times.take_while(|time| *time <= now).last();
        let last = schedule.last(after, now, zone);
        prop_assert_eq!(last.is_some(), walked.is_some());
        if let (Some(last), Some(walked)) = (last, walked) {
            prop_assert!(last > after && last <= now);
            if now - walked <= PUNCTUAL {
                prop_assert_eq!(last, walked);
            }
        }
    }

    #[test]
    fn any_text_is_a_schedule_or_an_error(text in "[-0-9*/,LW#? a-zA-Z@]{0,24}") {
        if let Ok(schedule) = text.parse::<CronExpression>() {
            let _ = schedule.next(DateTime::from_timestamp(1_800_000_000, 0).unwrap(), Tz::Europe__Berlin);
        }
    }
}
