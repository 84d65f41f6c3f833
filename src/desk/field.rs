//! The names of what can be asked of a run.

/// Something that is asked of a run: what a refusal can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of its name; `ask::Wish` says what it is")]
pub enum Field {
    Prompt,
    Model,
    SystemPrompt,
    AppendSystemPrompt,
    JsonSchema,
    Resume,
    ForkSession,
    MaxBudgetUsd,
    MaxTurns,
    TimeoutSeconds,
    Stream,
    Ephemeral,
    WebhookUrl,
}

impl Field {
    /// Its name where fields are written in `camelCase`.
    #[must_use]
    pub const fn camel(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Model => "model",
            Self::SystemPrompt => "systemPrompt",
            Self::AppendSystemPrompt => "appendSystemPrompt",
            Self::JsonSchema => "jsonSchema",
            Self::Resume => "resume",
            Self::ForkSession => "forkSession",
            Self::MaxBudgetUsd => "maxBudgetUsd",
            Self::MaxTurns => "maxTurns",
            Self::TimeoutSeconds => "timeoutSeconds",
            Self::Stream => "stream",
            Self::Ephemeral => "ephemeral",
            Self::WebhookUrl => "webhookUrl",
        }
    }

    /// Its name where fields are written in `snake_case`.
    #[must_use]
    pub const fn snake(self) -> &'static str {
        match self {
            Self::SystemPrompt => "system_prompt",
            Self::AppendSystemPrompt => "append_system_prompt",
            Self::JsonSchema => "json_schema",
            Self::ForkSession => "fork_session",
            Self::MaxBudgetUsd => "max_budget_usd",
            Self::MaxTurns => "max_turns",
            Self::TimeoutSeconds => "timeout_seconds",
            Self::WebhookUrl => "webhook_url",
            same => same.camel(),
        }
    }
}
