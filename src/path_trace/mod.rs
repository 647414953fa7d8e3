//! Host side of the wavefront path tracer: packs a [`crate::scene::Scene`] into buffers and renders it in slices.
//!
//! Knows nothing of glTF or HTTP.
