//! Who runs next: one run at a time in each workspace, so many over all of them, fair between workspaces.
//!
//! Pure: events in, decisions out. Workspaces with waiting runs take turns, so one with a hundred of them does not keep
//! another's only one waiting. A workspace is free once its run is over, and that is after the run's last process.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::run::Busy;

/// Running and waiting runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: usize,
    most_waiting: usize,
    running: HashMap<PathBuf, Uuid>,
    waiting: HashMap<PathBuf, VecDeque<Uuid>>,
    /// Free workspaces with waiting runs, the one whose turn it is first.
    turns: VecDeque<PathBuf>,
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
}

impl Schedule {
    /// Nothing runs; `slots` may at once, and `most_waiting` may wait.
    #[must_use]
    pub fn new(slots: usize, most_waiting: usize) -> Self {
        Self { slots, most_waiting, running: HashMap::new(), waiting: HashMap::new(), turns: VecDeque::new() }
    }

    /// Lets `run` in, or not.
    ///
    /// A run of a free workspace waits when all slots are taken, whatever `busy` says.
    pub fn admit(&mut self, workspace: &Path, run: Uuid, busy: Busy) -> Admission {
        let ahead = self.holders(workspace);
        match busy {
            Busy::Reject if let Some(&holder) = ahead.first() => return Admission::Busy(holder),
            Busy::Replace if !ahead.is_empty() => {
                let waiting = self.waiting.remove(workspace).unwrap_or_default();
                self.turns.retain(|other| other != workspace);
                self.waiting.insert(workspace.to_owned(), VecDeque::from([run]));
                if !self.running.contains_key(workspace) {
                    self.turns.push_back(workspace.to_owned());
                }
                let running = self.running.get(workspace).copied();
                return Admission::Replace(running.into_iter().chain(waiting).collect());
            }
            _ => {}
        }
        if ahead.is_empty() && self.running.len() < self.slots && self.turns.is_empty() {
            self.running.insert(workspace.to_owned(), run);
            return Admission::Start;
        }
        if self.waiting() >= self.most_waiting {
            return Admission::Full;
        }
        self.enqueue(workspace, run);
        Admission::Wait { ahead: ahead.len() }
    }

    /// Puts a run that was accepted earlier into the queue, however long that is.
    pub fn enqueue(&mut self, workspace: &Path, run: Uuid) {
        let queue = self.waiting.entry(workspace.to_owned()).or_default();
        queue.push_back(run);
        if queue.len() == 1 && !self.running.contains_key(workspace) {
            self.turns.push_back(workspace.to_owned());
        }
    }

    /// Takes note that `run`, which ran in `workspace`, is over.
    pub fn finish(&mut self, workspace: &Path, run: Uuid) {
        if self.running.get(workspace) == Some(&run) {
            self.running.remove(workspace);
            if self.waiting.contains_key(workspace) {
                self.turns.push_back(workspace.to_owned());
            }
        }
    }

    /// Takes a waiting run out. `false`: it does not wait.
    pub fn withdraw(&mut self, workspace: &Path, run: Uuid) -> bool {
        let Some(queue) = self.waiting.get_mut(workspace) else { return false };
        let before = queue.len();
        queue.retain(|&other| other != run);
        let found = queue.len() < before;
        if queue.is_empty() {
            self.waiting.remove(workspace);
            self.turns.retain(|other| other != workspace);
        }
        found
    }

    /// The next run to start, now, if there is one: call it until there is none.
    pub fn start_next(&mut self) -> Option<Uuid> {
        if self.running.len() >= self.slots {
            return None;
        }
        let workspace = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&workspace)?;
        let run = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&workspace);
        }
        self.running.insert(workspace, run);
        Some(run)
    }

    /// How many runs are before a waiting one in its workspace, the running one counted. `None`: it does not wait.
    #[must_use]
    pub fn ahead(&self, workspace: &Path, run: Uuid) -> Option<usize> {
        let place = self.waiting.get(workspace)?.iter().position(|&other| other == run)?;
        Some(place + usize::from(self.running.contains_key(workspace)))
    }

    /// The run that runs in `workspace`.
    #[must_use]
    pub fn running_in(&self, workspace: &Path) -> Option<Uuid> {
        self.running.get(workspace).copied()
    }

    /// How many runs run in `workspace` or wait for it.
    #[must_use]
    pub fn holding(&self, workspace: &Path) -> usize {
        self.holders(workspace).len()
    }

    /// How many runs wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Workspaces with a running run, sorted.
    #[must_use]
    pub fn busy(&self) -> Vec<PathBuf> {
        let mut busy: Vec<PathBuf> = self.running.keys().cloned().collect();
        busy.sort();
        busy
    }

    /// What runs and waits in `workspace`, in that order.
    fn holders(&self, workspace: &Path) -> Vec<Uuid> {
        let waiting = self.waiting.get(workspace).into_iter().flatten();
        self.running.get(workspace).into_iter().chain(waiting).copied().collect()
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

    fn started(schedule: &mut Schedule) -> Vec<u128> {
        std::iter::from_fn(|| schedule.start_next()).map(|run| run.as_u128()).collect()
    }

    const A: &str = "/a";
    const B: &str = "/b";

    #[test]
    fn a_busy_workspace_rejects_queues_or_is_taken_over() {
        let a = Path::new(A);
        let mut schedule = Schedule::new(2, 10);
        assert_eq!(schedule.admit(a, id(1), Busy::Reject), Admission::Start);
        assert_eq!(schedule.admit(a, id(2), Busy::Reject), Admission::Busy(id(1)));
        assert_eq!(schedule.admit(a, id(3), Busy::Queue), Admission::Wait { ahead: 1 });
        assert_eq!(schedule.admit(a, id(4), Busy::Queue), Admission::Wait { ahead: 2 });
        assert_eq!(
            (schedule.ahead(a, id(3)), schedule.ahead(a, id(4)), schedule.ahead(a, id(1))),
            (Some(1), Some(2), None)
        );
        assert_eq!(schedule.admit(a, id(5), Busy::Replace), Admission::Replace(vec![id(1), id(3), id(4)]));
        assert_eq!(started(&mut schedule), [0_u128; 0]);
        schedule.finish(a, id(1));
        assert_eq!(started(&mut schedule), [5]);
    }

    #[test]
    fn what_waits_for_a_slot_holds_its_workspace_too() {
        let (a, b) = (Path::new(A), Path::new(B));
        let mut schedule = Schedule::new(1, 10);
        assert_eq!(schedule.admit(a, id(1), Busy::Reject), Admission::Start);
        assert_eq!(schedule.admit(b, id(2), Busy::Reject), Admission::Wait { ahead: 0 });
        assert_eq!(schedule.admit(b, id(3), Busy::Reject), Admission::Busy(id(2)));
        assert_eq!(schedule.admit(b, id(4), Busy::Replace), Admission::Replace(vec![id(2)]));
        schedule.finish(a, id(1));
        assert_eq!(started(&mut schedule), [4]);
    }

    #[test]
    fn workspaces_take_turns() {
        let (a, b) = (Path::new(A), Path::new(B));
        let mut schedule = Schedule::new(1, 10);
        schedule.admit(a, id(1), Busy::Queue);
        for run in 2..=4 {
            schedule.admit(a, id(run), Busy::Queue);
        }
        schedule.admit(b, id(10), Busy::Queue);
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
        schedule.admit(a, id(1), Busy::Queue);
        schedule.admit(a, id(2), Busy::Queue);
        assert!(schedule.withdraw(a, id(2)) && !schedule.withdraw(a, id(2)) && !schedule.withdraw(a, id(1)));
        schedule.finish(a, id(1));
        assert_eq!((started(&mut schedule), schedule.busy().len()), (vec![], 0));
    }

    #[test]
    fn too_many_waiting_are_refused() {
        let mut schedule = Schedule::new(1, 1);
        assert_eq!(schedule.admit(Path::new(A), id(1), Busy::Reject), Admission::Start);
        assert_eq!(schedule.admit(Path::new(B), id(2), Busy::Reject), Admission::Wait { ahead: 0 });
        assert_eq!(schedule.admit(Path::new("/c"), id(3), Busy::Queue), Admission::Full);
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
        fn every_accepted_run_starts_once_or_is_withdrawn(steps in prop::collection::vec(any_step(), 0..200), slots in 1..4_usize) {
            let mut schedule = Schedule::new(slots, 20);
            let mut open: HashMap<Uuid, PathBuf> = HashMap::new();
            let mut live: HashMap<Uuid, PathBuf> = HashMap::new();
            let mut begun: HashSet<Uuid> = HashSet::new();
            let folder = |number: u8| PathBuf::from(format!("/{number}"));
            for (number, step) in steps.into_iter().enumerate() {
                let run = id(number as u128 + 1);
                match step {
                    Step::Admit(workspace, busy) => match schedule.admit(&folder(workspace), run, busy) {
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
    }
}
