//! Items that an input names instead of saying them again.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::items::{CALL, MESSAGE, call_item, message_item, text_part};
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::doors::openai::answer::Answer;
use crate::doors::openai::message::invalid;
use crate::doors::openai::{error, memory};
use crate::doors::web::problem::Problem;

/// `input` with every item in the place of its name.
pub(super) async fn resolved(desk: &Desk, caller: &Caller, mut input: Value) -> Result<Value, Problem> {
    for (index, item) in input.as_array_mut().into_iter().flatten().enumerate() {
        if let Some(id) = reference(item) {
            *item = self::item(desk, caller, id, &format!("input[{index}].id")).await?;
        }
    }
    Ok(input)
}

/// The id that stands for an item.
fn reference(item: &Value) -> Option<&str> {
    let names = match item["type"].as_str() {
        Some("item_reference") => true,
        None => item["role"].is_null() && item["content"].is_null(),
        Some(_) => false,
    };
    item["id"].as_str().filter(|_| names)
}

async fn item(desk: &Desk, caller: &Caller, id: &str, field: &str) -> Result<Value, Problem> {
    for prefix in [MESSAGE, CALL] {
        let Some((run, asked)) = memory::response(desk, caller, id, prefix).await? else { continue };
        if !run.state.is_final() || error::of_run(&run).is_some() {
            return Err(invalid(field, "that response has not come to its end, or failed"));
        }
        let answer = Answer::of(run, asked["call"].as_str());
        return Ok(match &answer.call {
            Some(name) => call_item(&answer, name, "completed", &answer.text),
            None => message_item(answer.run.id, "completed", &json!([text_part(&answer.text)])),
        });
    }
    let shown: String = id.chars().take(80).collect();
    let detail = format!(
        "{field}: there is no item {shown:?}: it is of another server or was not stored; send the item itself instead"
    );
    Err(Problem::new(StatusCode::NOT_FOUND, "item_not_found", detail).with("field", field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!({"type": "item_reference", "id": "msg_1"}), Some("msg_1"))]
    #[case(json!({"id": "msg_1"}), Some("msg_1"))]
    #[case(json!({"id": "msg_1", "type": null}), Some("msg_1"))]
    #[case(json!({"id": "msg_1", "role": "assistant", "content": "x"}), None)]
    #[case(json!({"type": "message", "id": "msg_1", "role": "user", "content": "x"}), None)]
    #[case(json!({"type": "reasoning", "id": "rs_1"}), None)]
    #[case(json!("x"), None)]
    fn an_item_is_named_by_its_id_alone(#[case] item: Value, #[case] id: Option<&str>) {
        assert_eq!(reference(&item), id);
    }
}
