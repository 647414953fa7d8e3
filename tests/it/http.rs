//! The promises of the HTTP interface, each through a real socket. What only the GPU process can find out is tested elsewhere.

mod assets;
mod changes;
mod downloads;
mod estimates;
mod events;
mod lifecycle;
mod lists;
mod metrics;
mod origin;
mod queue;
mod retention;
mod robustness;
mod service;
mod submit;
mod uploads;
mod waiting;
mod webhooks;

use sha2::{Digest, Sha256};

const GLB: &str = "model/gltf-binary";

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The smallest Radiance HDR picture that looks like one.
fn hdr() -> Vec<u8> {
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\x80\x80\x80\x81".to_vec()
}
