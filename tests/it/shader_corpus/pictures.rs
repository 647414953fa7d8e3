//! The small pictures that shaders of the set see in their channels, made anew for every run.

use image::{Rgb, RgbImage};

/// All pictures.
pub const NAMES: &[&str] = &["quarters", "grid", "sun"];

/// A picture by its name: its file's bytes.
pub fn file(name: &str) -> Vec<u8> {
    match name {
        "quarters" => png(&quarters()),
        "grid" => png(&grid()),
        "sun" => hdr(),
        other => panic!("there is no picture {other:?}"),
    }
}

/// 16 × 16: red and green above, blue and white below, and a black mark in the upper left corner: no turn or mirror looks the same.
fn quarters() -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| match (x < 8, y < 8) {
        (true, true) if x < 3 && y < 3 => Rgb([0, 0, 0]),
        (true, true) => Rgb([230, 40, 30]),
        (false, true) => Rgb([40, 190, 60]),
        (true, false) => Rgb([30, 60, 220]),
        (false, false) => Rgb([240, 240, 240]),
    })
}

/// 32 × 32: red rises to the right, green downwards, with bright lines, a multiple of eight texels apart.
fn grid() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| {
        let line = x % 8 == 0 || y % 8 == 0;
        if line { Rgb([255, 250, 230]) } else { Rgb([(x * 7) as u8, (y * 7) as u8, 60]) }
    })
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG in memory");
    bytes.into_inner()
}

/// 32 × 16 in Radiance HDR: a sky, a ground, and a sun of up to 64.
fn hdr() -> Vec<u8> {
    let pixels: Vec<Rgb<f32>> = (0..16 * 32)
        .map(|index| {
            let (x, y) = ((index % 32) as f32, (index / 32) as f32);
            let distance_squared = (x - 22.0).powi(2) + (y - 7.5).powi(2);
            let sun = 64.0 * (-distance_squared / 8.0).exp();
            let base = if y < 10.0 { [0.15, 0.3, 0.6] } else { [0.2, 0.15, 0.1] };
            Rgb([base[0] + sun, base[1] + sun * 0.9, base[2] + sun * 0.7])
        })
        .collect();
    let mut bytes = Vec::new();
    image::codecs::hdr::HdrEncoder::new(&mut bytes).encode(&pixels, 32, 16).expect("a picture in memory");
    bytes
}
