//! Kiln turns a GPU into a service: POST a glTF scene, get an id at once, watch it, download the picture.
//!
//! The journey of a job, in reading order:
//! [`http`] parses → [`job`] validates → [`store`] makes it durable → 202 →
//! [`dispatch`] claims it → [`gpu_process`] carries it to the child → [`scene`] loads it →
//! [`device`] runs [`path_trace`] slice by slice → [`image`] encodes → [`dispatch`] commits through
//! [`blob`] and [`store`] → [`http`] serves the picture.

#![warn(missing_docs)]

pub mod bench;
pub mod blob;
pub mod cli;
pub mod config;
pub mod device;
pub mod dispatch;
pub mod gpu_process;
pub mod http;
pub mod image;
pub mod job;
pub mod limits;
pub mod memory_guard;
pub mod path_trace;
pub mod sample_scenes;
pub mod scene;
pub mod shader_job;
pub mod store;
pub mod telemetry;
