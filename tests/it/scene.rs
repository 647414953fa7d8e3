//! The scene loader: what a file means, and what it may not do to us.

mod environment;
mod files;
