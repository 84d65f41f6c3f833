//! What the routes of this door work with.

use std::sync::Arc;

use axum::extract::FromRef;
use prometheus_client::registry::Registry;

use crate::desk::Desk;

/// Says why no run can be started, if none can.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the routes of this door work with.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) desk: Desk,
    pub(super) registry: Arc<Registry>,
    pub(super) readiness: Readiness,
}

impl FromRef<Inside> for Desk {
    fn from_ref(inside: &Inside) -> Self {
        inside.desk.clone()
    }
}
