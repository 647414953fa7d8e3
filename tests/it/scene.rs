//! The scene loader: what a file means, and what it may not do to us.

mod animation;
mod builder;
mod camera;
mod environment;
mod files;
mod geometry;
mod malformed;
mod material;
