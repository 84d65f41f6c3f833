//! Where the doors find their part of the store, until they name `store` themselves.

pub use crate::store::{Filter, Note, Sight, StoreError as LedgerError};

/// What a door may see of the store.
pub type Ledger = dyn crate::store::Notes;
