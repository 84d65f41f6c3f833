//! Who runs next: one run at a time in each workspace, so many over all of them, fair between requesters.
//!
//! Pure: events in, decisions out. A slot goes to the requester who holds the fewest, then to who was served longest ago,
//! then to the workspace that has waited longest; so one with a hundred runs does not keep another's only one waiting. A
//! workspace is free once its run is over, and that is after the run's last process.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::submission::Busy;
use crate::store::record::Requester;

/// A requester may have so many times as many runs waiting as there are free places. Alone they fill three quarters of the
/// queue; however many requesters there are, some places stay free for the next one.
const SHARE: usize = 3;

/// Running and waiting runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: usize,
    most_waiting: usize,
    running: HashMap<PathBuf, Candidate>,
    waiting: HashMap<PathBuf, VecDeque<Candidate>>,
    /// Free workspaces with waiting runs, the one that has waited longest first.
    turns: VecDeque<PathBuf>,
    /// When each requester with live runs was last given a slot, counted in starts.
    served: HashMap<Requester, u64>,
    starts: u64,
}

/// A run, as far as its turn is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The run.
    pub run: Uuid,
    /// Who asked for it.
    pub requester: Requester,
    /// Most runs of this requester at once.
    pub max_runs: Option<usize>,
}

/// What becomes of a run that asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It starts now.
    Start,
    /// It waits; so many are before it in its workspace, the running one counted.
    Wait {
        /// Runs before it.
        ahead: usize,
    },
    /// It takes the place of these, which are to be cancelled: the running one first, if there is one.
    Replace(Vec<Uuid>),
    /// This run holds the workspace.
    Busy(Uuid),
    /// Too many wait.
    Full,
    /// So many of its requester's runs wait that the places left are for others.
    OverShare {
        /// How many of them wait.
        waiting: usize,
    },
}

impl Schedule {
    /// Nothing runs; `slots` may at once, and `most_waiting` may wait.
    #[must_use]
    pub fn new(slots: usize, most_waiting: usize) -> Self {
        Self {
            slots,
            most_waiting,
            running: HashMap::new(),
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            served: HashMap::new(),
            starts: 0,
        }
    }

    /// Lets `place` in, or not. `max_queued`: most runs of its requester that may wait, besides their share of the queue.
    ///
    /// A run of a free workspace waits when all slots are taken, whatever `busy` says.
    pub fn admit(&mut self, workspace: &Path, place: Candidate, busy: Busy, max_queued: Option<usize>) -> Admission {
        let run = place.run;
        let ahead = self.holders(workspace);
        match busy {
            Busy::Reject if let Some(&holder) = ahead.first() => return Admission::Busy(holder),
            Busy::Replace if !ahead.is_empty() => {
                let waiting = self.waiting.remove(workspace).unwrap_or_default();
                self.turns.retain(|other| other != workspace);
                self.enqueue(workspace, place);
                let running = self.running.get(workspace);
                return Admission::Replace(running.into_iter().chain(&waiting).map(|place| place.run).collect());
            }
            _ => {}
        }
        let (requester, queued) = (place.requester.clone(), self.waiting());
        let own = self.waiting.values().flatten().filter(|other| other.requester == requester).count();
        self.enqueue(workspace, place);
        if self.next().is_some_and(|(_, _, next)| next == run) {
            self.start_next();
            return Admission::Start;
        }
        let free = self.most_waiting.saturating_sub(queued);
        if free == 0 || own >= SHARE * free || max_queued.is_some_and(|most| own >= most) {
            self.withdraw(workspace, run);
            return if free == 0 { Admission::Full } else { Admission::OverShare { waiting: own } };
        }
        Admission::Wait { ahead: ahead.len() }
    }

    /// Puts a run that was accepted earlier into the queue, however long that is.
    pub fn enqueue(&mut self, workspace: &Path, place: Candidate) {
        let queue = self.waiting.entry(workspace.to_owned()).or_default();
        queue.push_back(place);
        if queue.len() == 1 && !self.running.contains_key(workspace) {
            self.turns.push_back(workspace.to_owned());
        }
    }

    /// Takes note that `run`, which ran in `workspace`, is over.
    pub fn finish(&mut self, workspace: &Path, run: Uuid) {
        if self.running.get(workspace).is_some_and(|place| place.run == run) {
            self.running.remove(workspace);
            if self.waiting.contains_key(workspace) {
                self.turns.push_back(workspace.to_owned());
            }
            self.forget_gone();
        }
    }

    /// Takes a waiting run out. `false`: it does not wait.
    pub fn withdraw(&mut self, workspace: &Path, run: Uuid) -> bool {
        let Some(queue) = self.waiting.get_mut(workspace) else { return false };
        let before = queue.len();
        queue.retain(|other| other.run != run);
        let found = queue.len() < before;
        if queue.is_empty() {
            self.waiting.remove(workspace);
            self.turns.retain(|other| other != workspace);
        }
        self.forget_gone();
        found
    }

    /// The next run to start, now, if there is one: call it until there is none.
    pub fn start_next(&mut self) -> Option<Uuid> {
        let (turn, at, run) = self.next()?;
        let workspace = self.turns.remove(turn)?;
        let queue = self.waiting.get_mut(&workspace)?;
        let place = queue.remove(at)?;
        if queue.is_empty() {
            self.waiting.remove(&workspace);
        }
        self.starts += 1;
        self.served.insert(place.requester.clone(), self.starts);
        self.running.insert(workspace, place);
        Some(run)
    }

    /// Whose turn it is: which of the turns, which run of its workspace's queue, and that run.
    ///
    /// In a workspace the first to come is the first to go, but for runs whose requester may have no more at once.
    fn next(&self) -> Option<(usize, usize, Uuid)> {
        if self.running.len() >= self.slots {
            return None;
        }
        let mut held: HashMap<&Requester, usize> = HashMap::new();
        for place in self.running.values() {
            *held.entry(&place.requester).or_default() += 1;
        }
        let holds = |place: &Candidate| held.get(&place.requester).copied().unwrap_or_default();
        let may_start = |place: &Candidate| place.max_runs.is_none_or(|most| holds(place) < most);
        let firsts = self.turns.iter().enumerate().filter_map(|(turn, workspace)| {
            let queue = self.waiting.get(workspace)?;
            let (at, place) = queue.iter().enumerate().find(|(_, place)| may_start(place))?;
            let served = self.served.get(&place.requester).copied().unwrap_or_default();
            Some(((holds(place), served, turn), (turn, at, place.run)))
        });
        firsts.min_by_key(|(order, _)| *order).map(|(_, next)| next)
    }

    /// How many runs are before a waiting one in its workspace, the running one counted. `None`: it does not wait.
    pub fn ahead(&self, workspace: &Path, run: Uuid) -> Option<usize> {
        let place = self.waiting.get(workspace)?.iter().position(|other| other.run == run)?;
        Some(place + usize::from(self.running.contains_key(workspace)))
    }

    /// The run that runs in `workspace`.
    pub fn running_in(&self, workspace: &Path) -> Option<Uuid> {
        self.running.get(workspace).map(|place| place.run)
    }

    /// How many runs run in `workspace` or wait for it.
    pub fn holding(&self, workspace: &Path) -> usize {
        self.holders(workspace).len()
    }

    /// How many runs wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Workspaces with a running run, sorted.
    pub fn busy(&self) -> Vec<PathBuf> {
        let mut busy: Vec<PathBuf> = self.running.keys().cloned().collect();
        busy.sort();
        busy
    }

    /// What runs and waits in `workspace`, in that order.
    fn holders(&self, workspace: &Path) -> Vec<Uuid> {
        let waiting = self.waiting.get(workspace).into_iter().flatten();
        self.running.get(workspace).into_iter().chain(waiting).map(|place| place.run).collect()
    }

    /// Forgets when requesters were served who have no run left.
    fn forget_gone(&mut self) {
        let (running, waiting) = (&self.running, &self.waiting);
        let mut live = running.values().chain(waiting.values().flatten()).map(|place| &place.requester);
        let live: std::collections::HashSet<&Requester> = live.by_ref().collect();
        self.served.retain(|requester, _| live.contains(requester));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn place(number: u128, requester: &str) -> Candidate {
        Candidate { run: id(number), requester: Requester::Token(requester.into()), max_runs: None }
    }

    fn admit(schedule: &mut Schedule, workspace: &Path, number: u128, busy: Busy) -> Admission {
        schedule.admit(workspace, place(number, "me"), busy, None)
    }

    fn started(schedule: &mut Schedule) -> Vec<u128> {
        std::iter::from_fn(|| schedule.start_next()).map(|run| run.as_u128()).collect()
    }

    const A: &str = "/a";
    const B: &str = "/b";

    #[test]
    fn a_busy_workspace_rejects_queues_or_is_taken_over() {
        let a = Path::new(A);
        let mut schedule = Schedule::new(2, 10);
        assert_eq!(admit(&mut schedule, a, 1, Busy::Reject), Admission::Start);
        assert_eq!(admit(&mut schedule, a, 2, Busy::Reject), Admission::Busy(id(1)));
        assert_eq!(admit(&mut schedule, a, 3, Busy::Queue), Admission::Wait { ahead: 1 });
        assert_eq!(admit(&mut schedule, a, 4, Busy::Queue), Admission::Wait { ahead: 2 });
        assert_eq!(
            (schedule.ahead(a, id(3)), schedule.ahead(a, id(4)), schedule.ahead(a, id(1))),
            (Some(1), Some(2), None)
        );
        assert_eq!(admit(&mut schedule, a, 5, Busy::Replace), Admission::Replace(vec![id(1), id(3), id(4)]));
        assert_eq!(started(&mut schedule), [0_u128; 0]);
        schedule.finish(a, id(1));
        assert_eq!(started(&mut schedule), [5]);
    }

    #[test]
    fn what_waits_for_a_slot_holds_its_workspace_too() {
        let (a, b) = (Path::new(A), Path::new(B));
        let mut schedule = Schedule::new(1, 10);
        assert_eq!(admit(&mut schedule, a, 1, Busy::Reject), Admission::Start);
        assert_eq!(admit(&mut schedule, b, 2, Busy::Reject), Admission::Wait { ahead: 0 });
        assert_eq!(admit(&mut schedule, b, 3, Busy::Reject), Admission::Busy(id(2)));
        assert_eq!(admit(&mut schedule, b, 4, Busy::Replace), Admission::Replace(vec![id(2)]));
        schedule.finish(a, id(1));
        assert_eq!(started(&mut schedule), [4]);
    }

    #[test]
    fn workspaces_take_turns() {
        let (a, b) = (Path::new(A), Path::new(B));
        let mut schedule = Schedule::new(1, 10);
        admit(&mut schedule, a, 1, Busy::Queue);
        for run in 2..=4 {
            admit(&mut schedule, a, run, Busy::Queue);
        }
        admit(&mut schedule, b, 10, Busy::Queue);
        let mut order = Vec::new();
        let (mut workspace, mut run) = (a, id(1));
        loop {
            schedule.finish(workspace, run);
            let Some(next) = schedule.start_next() else { break };
            workspace = if next == id(10) { b } else { a };
            run = next;
            order.push(run.as_u128());
        }
        // B's one run came when A had three waiting: A's next turn was before it, the rest after it.
        assert_eq!(order, [10, 2, 3, 4]);
    }

    #[test]
    fn a_withdrawn_run_never_starts() {
        let a = Path::new(A);
        let mut schedule = Schedule::new(1, 10);
        admit(&mut schedule, a, 1, Busy::Queue);
        admit(&mut schedule, a, 2, Busy::Queue);
        assert!(schedule.withdraw(a, id(2)) && !schedule.withdraw(a, id(2)) && !schedule.withdraw(a, id(1)));
        schedule.finish(a, id(1));
        assert_eq!((started(&mut schedule), schedule.busy().len()), (vec![], 0));
    }

    #[test]
    fn too_many_waiting_are_refused() {
        let mut schedule = Schedule::new(1, 1);
        assert_eq!(admit(&mut schedule, Path::new(A), 1, Busy::Reject), Admission::Start);
        assert_eq!(admit(&mut schedule, Path::new(B), 2, Busy::Reject), Admission::Wait { ahead: 0 });
        assert_eq!(admit(&mut schedule, Path::new("/c"), 3, Busy::Queue), Admission::Full);
    }

    /// Admits runs 1.. of `requester`, each in a workspace of its own.
    fn flood(schedule: &mut Schedule, requester: &str, numbers: std::ops::Range<u128>) -> Vec<Admission> {
        let folder = |number| PathBuf::from(format!("/{number}"));
        numbers.map(|number| schedule.admit(&folder(number), place(number, requester), Busy::Queue, None)).collect()
    }

    #[test]
    fn nobody_fills_the_queue_alone() {
        let mut schedule = Schedule::new(2, 100);
        let admissions = flood(&mut schedule, "greedy", 0..500);
        assert_eq!(admissions.iter().filter(|&admission| *admission == Admission::Start).count(), 2);
        assert_eq!(admissions.last(), Some(&Admission::OverShare { waiting: 75 }));
        let others: usize = (0..5)
            .map(|other| flood(&mut schedule, &format!("other {other}"), 1000 * (other + 1)..1000 * (other + 1) + 1))
            .filter(|admissions| matches!(admissions[0], Admission::Wait { .. }))
            .count();
        assert_eq!(others, 5);
    }

    #[test]
    fn the_next_slot_goes_to_who_holds_the_fewest() {
        let mut schedule = Schedule::new(4, 100);
        flood(&mut schedule, "greedy", 0..50);
        flood(&mut schedule, "modest", 100..102);
        schedule.finish(Path::new("/0"), id(0));
        assert_eq!(started(&mut schedule), [100]);
        // Three slots against one: the next is not greedy's either.
        schedule.finish(Path::new("/1"), id(1));
        assert_eq!(started(&mut schedule), [101]);
    }

    #[test]
    fn with_one_slot_requesters_take_turns() {
        let mut schedule = Schedule::new(1, 100);
        flood(&mut schedule, "greedy", 0..5);
        flood(&mut schedule, "modest", 100..103);
        let mut order = Vec::new();
        let mut running = 0;
        loop {
            schedule.finish(&PathBuf::from(format!("/{running}")), id(running));
            let Some(next) = schedule.start_next() else { break };
            running = next.as_u128();
            order.push(running);
        }
        assert_eq!(order, [100, 1, 101, 2, 102, 3, 4]);
    }

    #[test]
    fn a_requester_has_no_more_at_once_than_they_may_and_holds_nobody_up() {
        let (a, b) = (Path::new(A), Path::new(B));
        let mut schedule = Schedule::new(4, 10);
        let bounded = |number| Candidate { max_runs: Some(1), ..place(number, "bounded") };
        assert_eq!(schedule.admit(a, bounded(1), Busy::Queue, Some(1)), Admission::Start);
        assert_eq!(schedule.admit(b, bounded(2), Busy::Queue, Some(1)), Admission::Wait { ahead: 0 });
        assert_eq!(schedule.admit(b, bounded(3), Busy::Queue, Some(1)), Admission::OverShare { waiting: 1 });
        // Its waiting run is first in the workspace, and cannot start.
        assert_eq!(admit(&mut schedule, b, 4, Busy::Queue), Admission::Start);
        schedule.finish(b, id(4));
        assert_eq!(started(&mut schedule), [0_u128; 0]);
        schedule.finish(a, id(1));
        assert_eq!(started(&mut schedule), [2]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(u8, Busy),
        Finish(u8),
        Withdraw(u8),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let busy = prop_oneof![Just(Busy::Reject), Just(Busy::Queue), Just(Busy::Replace)];
        prop_oneof![
            (0..5_u8, busy).prop_map(|(workspace, busy)| Step::Admit(workspace, busy)),
            (0..5_u8).prop_map(Step::Finish),
            any::<u8>().prop_map(Step::Withdraw),
        ]
    }

    proptest! {
        /// Whatever happens: no two runs in one workspace, never more than the slots, none lost, none started twice.
        #[test]
        fn every_accepted_run_starts_once_or_is_withdrawn(steps in prop::collection::vec(any_step(), 0..200), slots in 1..4_usize, bound in prop::option::of(1..3_usize)) {
            let mut schedule = Schedule::new(slots, 20);
            let mut open: HashMap<Uuid, PathBuf> = HashMap::new();
            let mut live: HashMap<Uuid, PathBuf> = HashMap::new();
            let mut begun: HashSet<Uuid> = HashSet::new();
            let names = ["ann", "bob", "cid"];
            let who = |number: usize| Requester::Token(names[number % names.len()].into());
            let folder = |number: u8| PathBuf::from(format!("/{number}"));
            for (number, step) in steps.into_iter().enumerate() {
                let run = id(number as u128 + 1);
                match step {
                    Step::Admit(workspace, busy) => match schedule.admit(&folder(workspace), Candidate { run, requester: who(number), max_runs: bound }, busy, None) {
                        Admission::Start => {
                            prop_assert!(begun.insert(run));
                            live.insert(run, folder(workspace));
                        }
                        Admission::Wait { .. } => drop(open.insert(run, folder(workspace))),
                        Admission::Replace(gone) => {
                            for other in gone {
                                prop_assert!(open.remove(&other).is_some() || live.contains_key(&other));
                            }
                            open.insert(run, folder(workspace));
                        }
                        Admission::Busy(holder) => prop_assert!(open.contains_key(&holder) || live.contains_key(&holder)),
                        Admission::Full => prop_assert!(schedule.waiting() >= 20),
                        Admission::OverShare { waiting } => {
                            prop_assert!(waiting >= SHARE * (20 - schedule.waiting()));
                        }
                    },
                    Step::Finish(workspace) => {
                        if let Some(run) = schedule.running_in(&folder(workspace)) {
                            schedule.finish(&folder(workspace), run);
                            prop_assert!(live.remove(&run).is_some());
                        }
                    }
                    Step::Withdraw(pick) => {
                        let mut waiting: Vec<_> = open.iter().map(|(run, folder)| (*run, folder.clone())).collect();
                        waiting.sort();
                        if let Some((run, folder)) = waiting.get(usize::from(pick)) {
                            prop_assert!(schedule.withdraw(folder, *run));
                            open.remove(run);
                        }
                    }
                }
                while let Some(run) = schedule.start_next() {
                    prop_assert!(begun.insert(run), "started twice");
                    let folder = open.remove(&run).expect("started what does not wait");
                    prop_assert!(!live.values().any(|busy| *busy == folder), "two in one workspace");
                    live.insert(run, folder);
                }
                prop_assert!(live.len() <= slots);
                prop_assert_eq!(schedule.waiting(), open.len());
            }
            // Everything that was let in gets its turn.
            while let Some((run, folder)) = live.iter().next().map(|(run, folder)| (*run, folder.clone())) {
                live.remove(&run);
                schedule.finish(&folder, run);
                while let Some(run) = schedule.start_next() {
                    let folder = open.remove(&run).expect("started what does not wait");
                    live.insert(run, folder);
                }
            }
            prop_assert!(open.is_empty());
        }

        /// However many runs one requester has waiting, another's first run gets one of the next slots that come free.
        #[test]
        fn a_newcomer_is_served_with_the_next_slot(greedy in 1..200_u128, slots in 1..5_usize) {
            let mut schedule = Schedule::new(slots, 300);
            flood(&mut schedule, "greedy", 0..greedy + slots as u128);
            flood(&mut schedule, "newcomer", 1000..1001);
            let busy = schedule.busy().into_iter().next().unwrap();
            let run = schedule.running_in(&busy).unwrap();
            schedule.finish(&busy, run);
            prop_assert_eq!(schedule.start_next(), Some(id(1000)));
        }
    }
}
