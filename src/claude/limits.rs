//! What the CLI takes at most.

/// Prompts longer than this are refused: the CLI itself gives up above 10 MB, after it has started.
pub const LONGEST_PROMPT_BYTES: usize = 10_000_000;
/// Longest text that fits into one argument of the CLI: the kernel's limit, its closing NUL left out.
pub const LONGEST_ARGUMENT_BYTES: usize = 131_071;
