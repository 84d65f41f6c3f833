//! What a run has left to do after its turn: sub-agents, background shells, wake-ups.
//!
//! The CLI lists its background tasks whenever the list changes. A wake-up is in no list: it is known from the call that
//! scheduled it.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::event::{Event, Kind};
use crate::config::name::BACKGROUND_SECONDS;

/// Tools that schedule a later turn of the same session.
const SCHEDULERS: [&str; 2] = ["ScheduleWakeup", "CronCreate"];
/// Task types whose end the answer waits for: they are asked for something and report it.
const REPORTERS: [&str; 4] = ["local_agent", "remote_agent", "local_workflow", "in_process_teammate"];
/// How much of a command is kept, characters.
const LONGEST_COMMAND_CHARS: usize = 300;

/// Background work that is not done.
#[derive(Debug, Default)]
pub struct Background {
    open: Vec<Work>,
    /// What tool calls that may go to the background were asked to do, by the call's id.
    asked: HashMap<String, String>,
}

/// One piece of background work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    /// The CLI's id of the task; the tool call's for a wake-up.
    id: String,
    kind: WorkKind,
    /// The command, the prompt, or the CLI's description.
    command: String,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkKind {
    Agent,
    Shell,
    Wakeup,
    Other,
}

impl WorkKind {
    fn of_task(task_type: &str) -> Self {
        match task_type {
            reporter if REPORTERS.contains(&reporter) => Self::Agent,
            "local_bash" => Self::Shell,
            _ => Self::Other,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Shell => "shell",
            Self::Wakeup => "wakeup",
            Self::Other => "task",
        }
    }
}

impl Background {
    /// Takes what `event` says about background work, at `now`.
    pub fn add(&mut self, event: &Event, now: Instant) {
        match event.kind() {
            Kind::Assistant { content, .. } => content.iter().for_each(|block| self.add_call(block, now)),
            Kind::User(content) => content.iter().for_each(|block| self.add_tool_result(block)),
            Kind::System("background_tasks_changed") => self.set_tasks(&event.json()["tasks"], now),
            Kind::System("task_started") => self.name_task(event.json()),
            Kind::Other("command_lifecycle") if !event.json()["wakeup_source"].is_null() => {
                self.open.retain(|work| work.kind != WorkKind::Wakeup);
            }
            _ => {}
        }
    }

    fn add_call(&mut self, block: &Value, now: Instant) {
        let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else { return };
        if block["type"] != "tool_use" {
            return;
        }
        let input = &block["input"];
        let asked = ["command", "prompt", "description"].iter().find_map(|key| input[*key].as_str()).unwrap_or(name);
        let asked: String = asked.chars().take(LONGEST_COMMAND_CHARS).collect();
        if SCHEDULERS.contains(&name) {
            let id = id.to_owned();
            self.open.push(Work { id, kind: WorkKind::Wakeup, command: asked, since: now });
        } else {
            self.asked.insert(id.to_owned(), asked);
        }
    }

    fn add_tool_result(&mut self, block: &Value) {
        let Some(id) = block["tool_use_id"].as_str().filter(|_| block["type"] == "tool_result") else { return };
        if block["is_error"] == true {
            self.open.retain(|work| work.kind != WorkKind::Wakeup || work.id != id);
        }
        // The task that the call became, if it became one, has been named before its result comes.
        self.asked.remove(id);
    }

    /// The CLI's list is the whole list.
    fn set_tasks(&mut self, tasks: &Value, now: Instant) {
        let mut open: Vec<Work> = self.open.iter().filter(|work| work.kind == WorkKind::Wakeup).cloned().collect();
        for task in tasks.as_array().into_iter().flatten() {
            let Some(id) = task["task_id"].as_str() else { continue };
            let known = self.open.iter().find(|work| work.id == id && work.kind != WorkKind::Wakeup).cloned();
            open.push(known.unwrap_or_else(|| Work {
                id: id.to_owned(),
                kind: WorkKind::of_task(task["task_type"].as_str().unwrap_or_default()),
                command: task["description"].as_str().unwrap_or_default().to_owned(),
                since: now,
            }));
        }
        self.open = open;
    }

    /// `task_started` says which call the task came from, so what it was asked to do.
    fn name_task(&mut self, started: &Value) {
        let asked = started["tool_use_id"].as_str().and_then(|call| self.asked.get(call));
        let task = self.open.iter_mut().find(|work| started["task_id"] == work.id.as_str());
        if let (Some(asked), Some(task)) = (asked, task)
            && task.kind == WorkKind::Shell
        {
            task.command.clone_from(asked);
        }
    }

    /// Whether somebody works whose report belongs into the answer.
    pub fn has_reporters(&self) -> bool {
        self.open.iter().any(|work| work.kind == WorkKind::Agent)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What is left, as the result says what was ended: `[{id, kind, command, seconds}]`, `seconds` how long it has been there.
    pub fn to_json(&self, now: Instant) -> Value {
        let work = self.open.iter().map(|Work { id, kind, command, since }| {
            let tenths = (now.duration_since(*since).as_secs_f64() * 10.0).round();
            json!({"id": id, "kind": kind.name(), "command": command, "seconds": tenths / 10.0})
        });
        work.collect()
    }
}

/// One line for a person about the `backgroundEnded` of a result. `None`: nothing was ended.
pub fn notice(ended: &Value) -> Option<String> {
    let work: Vec<String> = ended
        .as_array()?
        .iter()
        .map(|work| {
            let text = |key: &str| work[key].as_str().unwrap_or_default();
            let command: Vec<&str> = text("command").split_whitespace().collect();
            format!("{} {} ({}) after {} s", text("kind"), text("id"), command.join(" "), work["seconds"])
        })
        .collect();
    (!work.is_empty()).then(|| {
        format!("background work was ended with the run: {}; {BACKGROUND_SECONDS} gives it more time", work.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn add(background: &mut Background, now: Instant, event: &Value) {
        background.add(&Event::parse(event.to_string().as_bytes()).unwrap(), now);
    }

    fn call(name: &str, input: &Value) -> Value {
        json!({"type": "assistant", "message": {"content": [{"type": "tool_use", "id": "t1", "name": name, "input": input}]}})
    }

    fn tasks(tasks: &Value) -> Value {
        json!({"type": "system", "subtype": "background_tasks_changed", "tasks": tasks})
    }

    #[test]
    fn a_background_shell_is_named_by_its_command() {
        let mut background = Background::default();
        let start = Instant::now();
        add(&mut background, start, &call("Bash", &json!({"command": "sleep 9", "description": "wait"})));
        add(
            &mut background,
            start,
            &tasks(&json!([{"task_id": "b1", "task_type": "local_bash", "description": "wait"}])),
        );
        let started = json!({"type": "system", "subtype": "task_started", "task_id": "b1", "tool_use_id": "t1"});
        add(&mut background, start, &started);
        assert!(!background.has_reporters());
        let left = background.to_json(start + Duration::from_millis(2340));
        assert_eq!(left, json!([{"id": "b1", "kind": "shell", "command": "sleep 9", "seconds": 2.3}]));
        let line = "background work was ended with the run: shell b1 (sleep 9) after 2.3 s; \
                    CLAUDEBOX_BACKGROUND_SECONDS gives it more time";
        assert_eq!(notice(&left).as_deref(), Some(line));
        assert_eq!((notice(&Value::Null), notice(&json!([]))), (None, None));
        add(&mut background, start, &tasks(&json!([])));
        assert!(background.is_empty());
    }

    #[test]
    fn an_agent_is_awaited_and_keeps_its_time_when_the_list_changes() {
        let mut background = Background::default();
        let start = Instant::now();
        let agent = json!({"task_id": "a1", "task_type": "local_agent", "description": "look"});
        add(&mut background, start, &tasks(&json!([agent])));
        let later = start + Duration::from_secs(5);
        add(&mut background, later, &tasks(&json!([agent, {"task_id": "m1", "task_type": "tomorrow"}])));
        assert!(background.has_reporters());
        let left = background.to_json(later);
        assert_eq!((&left[0]["kind"], &left[0]["seconds"]), (&json!("agent"), &json!(5.0)));
        assert_eq!((&left[1]["kind"], &left[1]["seconds"]), (&json!("task"), &json!(0.0)));
    }

    #[test]
    fn a_wakeup_is_there_until_it_fires_or_was_refused() {
        let now = Instant::now();
        let wakeup = call("ScheduleWakeup", &json!({"delaySeconds": 60, "prompt": "look again"}));
        let mut background = Background::default();
        add(&mut background, now, &wakeup);
        // The list of tasks does not know it.
        add(&mut background, now, &tasks(&json!([])));
        assert_eq!(background.to_json(now)[0]["command"], "look again");
        add(
            &mut background,
            now,
            &json!({"type": "command_lifecycle", "state": "started", "wakeup_source": "loop_wakeup"}),
        );
        assert!(background.is_empty());
        add(&mut background, now, &wakeup);
        let refused = json!([{"type": "tool_result", "tool_use_id": "t1", "is_error": true}]);
        add(&mut background, now, &json!({"type": "user", "message": {"content": refused}}));
        assert!(background.is_empty());
    }
}
