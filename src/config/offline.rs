//! The variables that decide which API the CLI asks.

/// Variables that lead the CLI to an API of somebody else's, with credentials of their own.
pub const PROVIDERS: [&str; 3] = ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_FOUNDRY", "CLAUDE_CODE_USE_VERTEX"];

/// Variables that would lead the CLI past the offline model, to a real API: taken out of its environment.
pub const REAL_API: [&str; 7] = [
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
    "ANTHROPIC_MODEL",
];

/// Variables that are set for the offline model, or would lead requests around it.
const LEADING_TO_IT: [&str; 10] = [
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "NO_PROXY",
    "no_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// Variables that a settings file may not change while the offline model answers.
pub fn pinned() -> impl Iterator<Item = &'static str> {
    REAL_API.into_iter().chain(LEADING_TO_IT)
}
