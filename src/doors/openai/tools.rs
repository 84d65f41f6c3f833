//! The client's tools: Claude Code has its own and does not call them. A call that the client forces needs no model's
//! decision: its arguments are a structured answer.

use serde_json::{Value, json};

use super::message::invalid;
use crate::claude::schema::Schema;
use crate::doors::web::problem::Problem;

/// What becomes of the client's tools.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tools {
    /// There are none, or none is to be called.
    None,
    /// They are not called, and the answer says so.
    Ignored,
    /// The answer is a call of this one.
    Forced(Forced),
}

/// A call that the client has asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forced {
    /// The function's name.
    pub(super) name: String,
    /// JSON Schema of its arguments.
    pub(super) schema: String,
    /// What the model is told of it.
    pub(super) hint: String,
}

/// A function of the client's: where it stands in the request, and what is said of it.
struct Function<'request> {
    at: String,
    fields: &'request Value,
}

/// What becomes of `tools` with this `tool_choice`.
pub(super) fn wanted(tools: &Value, choice: &Value) -> Result<Tools, Problem> {
    choose(&functions(tools, "tools"), choice, "tool_choice", !is_empty(tools))
}

/// The same for `functions` and `function_call`, which came before them.
pub(super) fn wanted_function(list: &Value, choice: &Value) -> Result<Tools, Problem> {
    choose(&functions(list, "functions"), choice, "function_call", !is_empty(list))
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn functions<'request>(tools: &'request Value, field: &str) -> Vec<Function<'request>> {
    let tools = tools.as_array().into_iter().flatten().enumerate();
    let functions = tools.filter_map(|(index, tool)| {
        // Chat Completions has it one level deeper than Responses.
        if tool["function"].is_object() {
            Some(Function { at: format!("{field}[{index}].function"), fields: &tool["function"] })
        } else {
            tool["name"].is_string().then(|| Function { at: format!("{field}[{index}]"), fields: tool })
        }
    });
    functions.collect()
}

fn choose(functions: &[Function<'_>], choice: &Value, field: &str, some: bool) -> Result<Tools, Problem> {
    let word = choice.as_str().or(choice["type"].as_str()).or(choice["name"].as_str().map(|_| "function"));
    let by_name = |name: &Value| functions.iter().find(|function| function.fields["name"] == *name);
    match word {
        None | Some("auto") if some => Ok(Tools::Ignored),
        None | Some("auto" | "none") => Ok(Tools::None),
        Some("required" | "any") => only(functions.iter(), field),
        Some("allowed_tools") => {
            let allowed = if choice["allowed_tools"].is_object() { &choice["allowed_tools"] } else { choice };
            if allowed["mode"] != "required" {
                return Ok(if some { Tools::Ignored } else { Tools::None });
            }
            let names = allowed["tools"].as_array().into_iter().flatten();
            let names =
                names.map(|tool| if tool["name"].is_null() { &tool["function"]["name"] } else { &tool["name"] });
            only(names.filter_map(by_name), field)
        }
        Some("function" | "tool") => {
            let name = if choice["name"].is_null() { &choice["function"]["name"] } else { &choice["name"] };
            let function = by_name(name).ok_or_else(|| {
                invalid(field, &format!("there is no function {name} among the tools of this request"))
            })?;
            forced(function)
        }
        Some(other) => {
            let why = format!("{other:?} is not served: allowed are auto, none, required and a function by its name");
            Err(invalid(field, &why))
        }
    }
}

fn only<'request>(
    mut functions: impl Iterator<Item = &'request Function<'request>>,
    field: &str,
) -> Result<Tools, Problem> {
    match (functions.next(), functions.next()) {
        (Some(function), None) => forced(function),
        (None, _) => {
            Err(invalid(field, "a call is required, and there is no function among the tools of this request"))
        }
        (Some(_), Some(_)) => {
            let why = "of several functions Claude Code calls none, it has tools of its own: name the one to call \
                       ({\"type\": \"function\", \"function\": {\"name\": ...}}), or send that one alone";
            Err(invalid(field, why))
        }
    }
}

fn forced(function: &Function<'_>) -> Result<Tools, Problem> {
    let fields = function.fields;
    let name = fields["name"].as_str().unwrap_or_default().to_owned();
    let parameters = &fields["parameters"];
    let schema = if parameters.is_null() { json!({"type": "object", "properties": {}}) } else { parameters.clone() };
    let text = schema.to_string();
    Schema::new(schema).map_err(|fault| invalid(&format!("{}.parameters", function.at), &fault.to_string()))?;
    let description = fields["description"].as_str().map(|text| format!(" Of it is said: {text}")).unwrap_or_default();
    let hint = format!(
        "The caller of this conversation takes your structured output for the arguments of a call of its function \
         {name:?}: give the arguments that fit the conversation.{description}"
    );
    Ok(Tools::Forced(Forced { name, schema: text, hint }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "title": name}}})
    }

    fn flat(name: &str) -> Value {
        json!({"type": "function", "name": name, "parameters": {"type": "object", "title": name}})
    }

    #[rstest]
    #[case::none(json!([]), json!(null))]
    #[case::left_out(json!(null), json!("auto"))]
    #[case::not_wanted(json!([tool("f")]), json!("none"))]
    fn nothing_is_ignored(#[case] tools: Value, #[case] choice: Value) {
        assert_eq!(wanted(&tools, &choice).unwrap(), Tools::None);
    }

    #[rstest]
    #[case(json!([tool("f")]), json!(null))]
    #[case(json!([tool("f")]), json!("auto"))]
    #[case(json!([{"type": "web_search"}]), json!("auto"))]
    #[case(json!([flat("f")]), json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}))]
    fn tools_are_ignored(#[case] tools: Value, #[case] choice: Value) {
        assert_eq!(wanted(&tools, &choice).unwrap(), Tools::Ignored);
    }

    #[rstest]
    #[case(json!([tool("f")]), json!("required"))]
    #[case(json!([tool("g"), tool("f")]), json!({"type": "function", "function": {"name": "f"}}))]
    #[case(json!([flat("g"), flat("f")]), json!({"type": "function", "name": "f"}))]
    #[case(json!([flat("g"), flat("f")]), json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}))]
    fn a_call_is_forced(#[case] tools: Value, #[case] choice: Value) {
        let Tools::Forced(forced) = wanted(&tools, &choice).unwrap() else { panic!("it is not") };
        assert_eq!((forced.name.as_str(), forced.schema.as_str()), ("f", r#"{"type":"object","title":"f"}"#));
    }

    #[test]
    fn a_function_of_the_older_kind_is_the_same() {
        let list = json!([{"name": "f", "description": "finds", "parameters": {"type": "object"}}]);
        let Tools::Forced(forced) = wanted_function(&list, &json!({"name": "f"})).unwrap() else { panic!() };
        assert!(forced.name == "f" && forced.hint.contains("finds"), "{forced:?}");
        assert_eq!(wanted_function(&list, &json!("auto")).unwrap(), Tools::Ignored);
    }

    #[rstest]
    #[case(json!([]), json!("required"), "tool_choice: a call is required, and there is no function")]
    #[case(json!([tool("f"), tool("g")]), json!("required"), "tool_choice: of several functions")]
    #[case(json!([tool("f")]), json!({"type": "function", "function": {"name": "x"}}), "tool_choice: there is no function \"x\"")]
    #[case(json!([tool("f")]), json!({"type": "web_search_preview"}), "tool_choice: \"web_search_preview\" is not served")]
    #[case(json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "x"}}}]), json!("required"), "tools[0].function.parameters: at /type: ")]
    fn what_cannot_be_forced_is_said(#[case] tools: Value, #[case] choice: Value, #[case] detail: &str) {
        let problem = wanted(&tools, &choice).unwrap_err();
        assert!(problem.detail().starts_with(detail), "{}", problem.detail());
    }
}
