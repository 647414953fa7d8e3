//! Scenes that Kiln makes itself, as GLB files: for `make demo`, `kiln doctor`, `kiln bench`, benches and tests.
//!
//! Everything here is computed, so that nothing has to be downloaded or committed. Metres, +Y up. It knows nothing of
//! the renderer: what comes out is an ordinary glTF file that any viewer opens.

mod cornell_box;
mod field;
mod glb;
mod knot;
mod shapes;
mod still_life;

pub use cornell_box::cornell_box;
pub use field::field;
pub use glb::GlbBuilder;
pub use knot::knot;
pub use shapes::Shape;
pub use still_life::still_life;

/// Names of the scenes that [`by_name`] makes.
pub const NAMES: [&str; 4] = ["still-life", "cornell-box", "field", "knot"];

/// The GLB of a sample scene: `still-life`, `cornell-box`, `field` (a million instanced triangles) or `knot` (270,000
/// triangles in one mesh). `None` for another name.
pub fn by_name(name: &str) -> Option<Vec<u8>> {
    match name {
        "still-life" => Some(still_life()),
        "cornell-box" => Some(cornell_box()),
        "field" => Some(field(1_000_000)),
        "knot" => Some(knot(270_000)),
        _ => None,
    }
}
