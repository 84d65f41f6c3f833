//! One turn of Claude's, as the engine and the worker that carries it out both see it.

pub mod protocol;
