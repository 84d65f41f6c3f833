//! What the engine counts, for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::claude::outcome::Outcome;
use crate::store::record::{DoorName, Run};

/// The engine's figures. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    accepted: Family<Door, Counter>,
    finished: Family<Ending, Counter>,
    duration: Histogram,
    cost: Counter<f64, AtomicU64>,
    tokens: Family<Kind, Counter>,
    reaped: Counter,
    /// Runs that run.
    pub running: Gauge,
    /// Runs that wait.
    pub queued: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Door {
    door: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    state: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The CLI's names for kinds of tokens, in the camelCase of a result, and ours.
const TOKENS: [(&str, &str); 4] = [
    ("inputTokens", "input"),
    ("outputTokens", "output"),
    ("cacheCreationInputTokens", "cache_creation"),
    ("cacheReadInputTokens", "cache_read"),
];
/// Upper bounds of the durations' buckets, seconds: from an echo to an afternoon.
const DURATIONS: [f64; 12] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14_400.0];

impl Metrics {
    /// New figures, at zero, in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Family::default(),
            finished: Family::default(),
            duration: Histogram::new(DURATIONS),
            cost: Counter::default(),
            tokens: Family::default(),
            reaped: Counter::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
        };
        registry.register("runs_accepted", "Runs accepted, by door", metrics.accepted.clone());
        registry.register("runs_finished", "Runs that have ended, by state and outcome", metrics.finished.clone());
        let help = "How long runs ran";
        registry.register_with_unit("run_duration", help, Unit::Seconds, metrics.duration.clone());
        registry.register("run_cost_usd", "What runs cost, US dollars", metrics.cost.clone());
        registry.register("run_tokens", "Tokens of runs, by kind", metrics.tokens.clone());
        registry.register("reaped_processes", "Processes that runs left behind, ended", metrics.reaped.clone());
        registry.register("runs_running", "Runs that run, one in each busy workspace", metrics.running.clone());
        registry.register("runs_queued", "Runs that wait", metrics.queued.clone());
        metrics
    }

    /// Counts a run that was accepted.
    pub fn accepted(&self, door: DoorName) {
        self.accepted.get_or_create(&Door { door: door.name() }).inc();
    }

    /// Counts a run that has ended.
    pub fn finished(&self, run: &Run) {
        let Some(end) = &run.end else { return };
        let outcome = end.outcome.map_or("none", Outcome::name);
        self.finished.get_or_create(&Ending { state: run.state.name(), outcome }).inc();
        if let Some(started) = run.started_at {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
            self.duration.observe((end.at - started).max(0) as f64 / 1000.0);
        }
        if let Some(cost) = end.cost_usd.filter(|cost| *cost > 0.0) {
            self.cost.inc_by(cost);
        }
        for (field, kind) in TOKENS {
            if let Some(count) = end.result["usage"][field].as_u64() {
                self.tokens.get_or_create(&Kind { kind }).inc_by(count);
            }
        }
        self.reaped.inc_by(end.reaped);
    }
}
