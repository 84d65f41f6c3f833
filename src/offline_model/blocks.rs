//! Blocks of a request: what its lists hold.

use serde_json::Value;

/// A message's blocks.
pub(super) fn blocks(message: &Value) -> impl Iterator<Item = &Value> {
    items(&message["content"])
}

/// The items of a list; a plain string counts as one.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        other => std::slice::from_ref(other).iter(),
    }
}
