//! A result with every event of its run, for who asked for that.

use serde_json::{Value, json};

use super::view;
use crate::desk::Desk;
use crate::desk::refusal::Refusal;
use crate::store::record::Run;

/// Most of the events that one answer holds, bytes.
const MOST_BYTES: usize = 64 << 20;

/// The result of a run that has ended. Where all events were asked for, it has them as `events`: each `{sequence, attempt,
/// backend, eventType, event}`, numbered from 1, and `eventsTruncated` if there were more than fit.
pub(super) async fn result(desk: &Desk, run: &Run) -> Result<Value, Refusal> {
    let mut result = view::result(run);
    if !run.request.options.all_events || run.end.is_none() {
        return Ok(result);
    }
    let mut events: Vec<Value> = Vec::new();
    let mut bytes = 0;
    let mut log = desk.events(run.id, 0).await?;
    while let Ok(Some(chunk)) = log.next().await {
        bytes += chunk.lines.len();
        if bytes > MOST_BYTES {
            result["eventsTruncated"] = true.into();
            break;
        }
        let lines = chunk.lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for event in lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
            events.push(json!({
                "sequence": events.len() + 1, "attempt": 1, "backend": "claude", "eventType": event["type"],
                "event": event,
            }));
        }
    }
    result["events"] = events.into();
    Ok(result)
}
