//! The GPU process and its supervisor, the dispatcher, the command line, and the promises of the queue when processes die.
//!
//! Real processes of the real binary. Nothing here measures time: waits end as soon as what they wait for is there, and their
//! bounds are only there so that a fault fails the test instead of hanging it.

mod command_line;
mod dispatcher;
mod frames;
pub mod harness;
mod interrupt;
mod kill;
mod pipeline;
mod supervision;
