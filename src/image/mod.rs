//! Film → tone map → PNG, JPEG, WebP, EXR. Runs on encoder threads. Knows nothing of jobs' life cycle or HTTP.

/// Linear radiance and coverage, one entry a pixel, rows from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Film {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Mean over samples: scene-linear Rec. 709 radiance, premultiplied by coverage, and coverage (alpha) in [0, 1].
    pub rgba: Vec<[f32; 4]>,
    /// Samples per pixel in it.
    pub samples: u32,
}
