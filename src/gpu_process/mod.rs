//! The supervised child that owns the GPU: protocol, supervisor, the child's main loop.
//!
//! The only module that knows that there are two processes.

pub mod protocol;
