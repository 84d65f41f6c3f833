//! What dealing with a message comes to.

use crate::store::StoreError;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// It is dealt with.
    Done,
    /// It stays: for the next server, or until a command has ended.
    Kept,
}

/// What became of it; an error of the ledger's passes.
pub(super) type Outcome = Result<Handled, StoreError>;
