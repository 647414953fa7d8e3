//! The event hub: what the front end may know of running work without asking the store. A courtesy (invariant 2): all of it can
//! be lost with the process.

use crate::gpu_process::protocol::AdapterReport;
use crate::job::{Event, JobId, Progress};
use std::sync::Arc;
use tokio::sync::broadcast;

/// State of the GPU process, for `/readyz` and `/v1/workers`.
#[derive(Debug, Clone, Default)]
pub struct GpuStatus {
    /// It is up and can take work.
    pub ready: bool,
    /// Its adapter, once known.
    pub adapter: Option<AdapterReport>,
    /// Deaths since the server's start.
    pub deaths: u64,
    /// Why it is not up, if it is not.
    pub problem: Option<String>,
}

/// See the module's text. Cheap to share behind `Arc`.
pub struct Hub {}

impl Hub {
    /// An empty hub.
    pub fn new() -> Arc<Self> {
        unimplemented!()
    }
    /// The freshest progress of a running job (fresher than the store's).
    pub fn progress(&self, _id: JobId) -> Option<Progress> {
        unimplemented!()
    }
    /// Live events of one job, stored ones and others; a slow subscriber lags and must resume from the store.
    pub fn subscribe(&self, _id: JobId) -> broadcast::Receiver<Event> {
        unimplemented!()
    }
    /// Called by the dispatcher, and by the front end after a change that it made itself.
    pub fn publish(&self, _id: JobId, _event: Event) {
        unimplemented!()
    }
    /// Tells the dispatcher at once that a running job is to be cancelled (the store knows already).
    pub fn cancel(&self, _id: JobId) {
        unimplemented!()
    }
    /// A PNG of the film as it is now; `None` when the job is not on the device or it is too early. Takes at most about 2 s.
    pub async fn preview(&self, _id: JobId) -> Option<(bytes::Bytes, u32)> {
        unimplemented!()
    }
    /// See [`GpuStatus`].
    pub fn gpu(&self) -> GpuStatus {
        unimplemented!()
    }
}
