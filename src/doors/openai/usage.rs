//! What a run has used, in the two protocols' words.

use serde_json::{Value, json};

use super::answer::Answer;

/// Tokens of a run, from the CLI's result.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct TokenUsage {
    /// All that went in, from the cache or not.
    input: u64,
    /// Of them, those that came out of the cache.
    cached: u64,
    /// Of them, those that were written to the cache.
    cache_written: u64,
    output: u64,
    /// Of them, those of thinking.
    reasoning: u64,
    /// US dollars.
    cost: Option<f64>,
}

impl TokenUsage {
    /// Of an answer, with its cost.
    pub(super) fn of(answer: &Answer) -> Self {
        Self { cost: answer.cost(), ..Self::of_result(answer.result()) }
    }

    /// Of a result in camelCase.
    fn of_result(result: &Value) -> Self {
        let usage = &result["usage"];
        let number = |key: &str| usage[key].as_u64().unwrap_or_default();
        let (cached, cache_written) = (number("cacheReadInputTokens"), number("cacheCreationInputTokens"));
        Self {
            input: number("inputTokens") + cached + cache_written,
            cached,
            cache_written,
            output: number("outputTokens"),
            reasoning: usage["outputTokensDetails"]["thinkingTokens"].as_u64().unwrap_or_default(),
            cost: None,
        }
    }

    /// For Chat Completions.
    pub(super) fn chat(self) -> Value {
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "cost": self.cost,
            "prompt_tokens_details": {
                "cached_tokens": self.cached, "cache_write_tokens": self.cache_written, "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        })
    }

    /// For Responses.
    pub(super) fn responses(self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.cache_written},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
            "cost": self.cost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cache_gave_went_in_too() {
        let result = json!({"usage": {
            "inputTokens": 5, "cacheCreationInputTokens": 20, "cacheReadInputTokens": 100, "outputTokens": 7,
            "outputTokensDetails": {"thinkingTokens": 3},
        }});
        let usage = TokenUsage::of_result(&result);
        let chat = usage.chat();
        assert_eq!((&chat["prompt_tokens"], &chat["total_tokens"]), (&json!(125), &json!(132)));
        assert_eq!(chat["prompt_tokens_details"]["cached_tokens"], 100);
        assert_eq!(chat["completion_tokens_details"]["reasoning_tokens"], 3);
        assert_eq!(usage.responses()["output_tokens_details"]["reasoning_tokens"], 3);
        assert_eq!(TokenUsage::of_result(&json!({})), TokenUsage::default());
    }
}
