//! The supervised child that owns the GPU: protocol, supervisor, the child's main loop.
//!
//! The only module that knows that there are two processes. In reading order: [`protocol`] says what goes over the pipe and
//! [`frame`] how; [`supervisor`] starts the child, watches it and starts it again; [`child`] is its main loop; [`pipeline`] carries
//! a task through it; [`task`] is the work on a loader or encoder thread.
//!
//! The child dies with its parent, however the parent dies: its reader thread ends the process when stdin closes. There is no
//! `PR_SET_PDEATHSIG` beside it, since that signal is tied to the *thread* that spawned the child, and tokio's threads come and go.

mod assemble;
pub mod canary;
pub mod checkpoint;
pub mod child;
mod child_log;
pub mod frame;
pub mod in_process;
pub mod pipeline;
pub mod protocol;
pub mod resident;
pub mod supervisor;
pub mod task;
