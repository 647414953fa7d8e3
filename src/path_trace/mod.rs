//! Host side of the wavefront path tracer: packs a [`crate::scene::Scene`] into buffers and renders it in slices.
//!
//! Packing runs on a loader thread ([`pack_scene`], [`pack_sky`]), everything else on the device thread. Knows nothing of glTF or HTTP.
//!
//! A packed scene stays on the device after its render, by its key, and in memory as long as somebody holds it: a render that has to
//! leave the device keeps its film in memory, and uploads both again when it goes on.
//!
//! One bounce of a batch of paths is four kernels (`shaders/*.wgsl`): `extend` finds the next surface, `shade` looks at it and leaves
//! a connection to a light and the next ray, `advance` turns what was appended into what is read, `shadow` tests the connections.
//! `generate` starts a batch and `accumulate` adds it to the film.

mod checkpoint;
mod film;
mod flat;
mod kernels;
pub mod layout;
mod lights;
mod pack;
mod passes;
mod probe;
mod render;
mod resident;
mod settings;
mod sky;

pub use kernels::KERNELS;
pub use pack::{PackedScene, pack as pack_scene};
pub use probe::{Probe, ProbeHit, ProbeRay};
pub use render::{Render, RenderEvent, RenderEvents, RenderOrder, RenderStats};
pub use settings::{Background, RenderSettings};
pub use sky::{PackedSky, pack as pack_sky};
