//! How a refusal is worded for this door's clients.

use crate::desk::options::Field;
use crate::desk::refusal::{Refusal, Remedy, Words};

/// Code of a wrong argument.
pub(super) const CODE: &str = "invalid_argument";
/// The words of this door's clients.
pub(super) const WORDS: Words = Words { field: Field::snake, remedy };

const fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::CreateWorkspace => "set create_workspace to have it made",
        Remedy::WaitOrReplace => "set busy to queue or replace",
        Remedy::Wait => "set busy to queue to wait all the same",
    }
}

/// A wrong argument, by the name the client knows.
pub(super) fn invalid(name: &str, why: &str) -> Refusal {
    Refusal::of_named("field", CODE, name, why)
}
