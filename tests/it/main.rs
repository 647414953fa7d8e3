//! The integration tests: one binary, a module a subject.

mod app;
mod assets;
mod bad_input;
mod blob;
mod bsdf;
mod bvh;
mod golden;
mod gpu;
mod http;
mod image;
mod layout;
mod lights;
mod process;
mod reference;
mod render;
mod sampler;
mod samples;
mod scene;
mod shader;
mod shader_corpus;
mod shader_front;
mod spec;
mod spec_shader;
mod store;
mod torture;
