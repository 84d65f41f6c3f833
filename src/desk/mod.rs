//! The desk: what every door asks for, said once.
//!
//! A door turns what its clients say into an [`ask::Ask`], and what the desk answers into its protocol. Nothing here knows a
//! protocol: no type of axum, teloxide or rmcp is named below this module.
//!
//! | module | what it is for |
//! |---|---|
//! | `caller` | who calls, and what they may do |
//! | `ask` | what may be asked of a run, checked field by field; from there to the engine |
//! | `field` | the names of what can be asked |
//! | `refusal` | why something is not done, without a protocol |
//! | `runs` | finding, following and ending runs that the caller may see |
//! | `files` | workspaces as the caller may use them |
//! | `narrate` | the CLI's events -> what a run says and does: their one reader |
//! | `chats` | telling a chat of a job's end |

pub mod ask;
pub mod caller;
pub mod chats;
pub mod field;
pub mod files;
pub mod narrate;
pub mod refusal;
pub mod runs;

use std::sync::Arc;

use crate::fetch::Fetcher;
use crate::runs::engine::Engine;
use crate::workspace::Workspaces;

/// What every door works with. Cheap to clone: each request does, on every core.
#[derive(Clone)]
pub struct Desk {
    /// The run engine.
    pub engine: Engine,
    /// The workspaces folder.
    pub workspaces: Workspaces,
    /// For addresses that clients name.
    pub fetcher: Arc<Fetcher>,
}
