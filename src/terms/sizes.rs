//! The largest inputs.

/// The most bytes of a text or of a task's file that are read, 64 MB.
pub const MAX_TEXT_BYTES: usize = 64_000_000;
/// The most bytes of a prompt, 1 MiB: no model that is known here has a context for more.
pub const MAX_PROMPT_BYTES: usize = 1 << 20;
