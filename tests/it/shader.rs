//! Shader jobs end to end: a real server, a real GPU process, the adapter's own compiler, real files.

mod animation;
mod dialects;
mod hostile;
mod outputs;
mod service;
mod simulation;
mod state;
