//! What the encoders write, decoded again by other decoders or compared with values worked out elsewhere.

use kiln::image::{self as kiln_image, EncodeError, Film, encode, preview_png, srgb_from_linear, tone_map};
use kiln::job::Output;
use kiln::job::spec::{Background, Format, OutputSpec, ToneMap};
use sha2::Digest;
use std::path::Path;

fn spec(format: Format, bit_depth: u8) -> OutputSpec {
    OutputSpec { format, bit_depth, quality: 90 }
}

/// A film with everything in it: a ramp from 10⁻⁵ to 10⁵ in each channel and in all, with coverage from 0 to 1, larger than one band of rows.
fn film() -> Film {
    let (width, height) = (37u32, 150u32);
    let rgba = (0..width * height)
        .map(|n| {
            let (x, y) = (n % width, n / width);
            let value = 10f32.powf(y as f32 / height as f32 * 10.0 - 5.0);
            let alpha = x as f32 / (width - 1) as f32;
            let channel = |bit: u32| if x >> bit & 1 == 0 { value * alpha } else { 0.3 * value * alpha };
            [channel(0), channel(1), channel(2), alpha]
        })
        .collect();
    Film { width, height, rgba, samples: 4 }
}

/// Encodes, and checks what is true of every output: its name, type, length and hash.
fn encode_checked(
    film: &Film,
    output: &OutputSpec,
    curve: ToneMap,
    exposure_ev: f32,
    transparent: bool,
) -> (Vec<u8>, Output) {
    let dir = tempfile::tempdir().unwrap();
    let made = encode(film, output, curve, exposure_ev, background(transparent), dir.path()).unwrap();
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, [made.name.as_str()], "exactly the named file lies in the folder");
    assert_eq!(made.name, kiln_image::file_name(output.format));
    assert_eq!(made.media_type, kiln_image::media_type(output.format));
    let bytes = std::fs::read(dir.path().join(&made.name)).unwrap();
    assert_eq!(made.bytes, bytes.len() as u64);
    assert_eq!(made.sha256, hex::encode(sha2::Sha256::digest(&bytes)));
    (bytes, made)
}

/// The sRGB curve in double precision, IEC 61966-2-1.
fn oetf(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// What a pixel must look like: straight colour in [0, 1], sRGB-encoded, and alpha. Linear curve.
fn expected_linear([r, g, b, a]: [f32; 4], exposure: f64, transparent: bool) -> [f64; 4] {
    let alpha = if transparent { f64::from(a) } else { 1.0 };
    let color = |c: f32| if alpha == 0.0 { 0.0 } else { oetf((f64::from(c) / alpha * exposure).clamp(0.0, 1.0)) };
    [color(r), color(g), color(b), alpha]
}

/// Values computed from the equations of the specification with 50 digits, in another language.
#[test]
fn neutral_gives_the_values_of_its_specification() {
    for (input, expected) in NEUTRAL_REFERENCE {
        let output = tone_map(input, ToneMap::Neutral, 1.0);
        for (output, expected) in output.into_iter().zip(expected) {
            assert!((f64::from(output) - expected).abs() < 2e-6, "{input:?}: {output}, expected {expected}");
        }
    }
}

const NEUTRAL_REFERENCE: [([f32; 3], [f64; 3]); 10] = [
    ([0.0, 0.0, 0.0], [0.000_000_000, 0.000_000_000, 0.000_000_000]),
    ([0.02, 0.05, 0.01], [0.010_625_000, 0.040_625_000, 0.000_625_000]),
    ([0.08, 0.08, 0.08], [0.040_000_000, 0.040_000_000, 0.040_000_000]),
    ([0.18, 0.18, 0.18], [0.140_000_000, 0.140_000_000, 0.140_000_000]),
    ([0.79, 0.5, 0.2], [0.750_000_000, 0.460_000_000, 0.160_000_000]),
    ([1.0, 1.0, 1.0], [0.869_090_909, 0.869_090_909, 0.869_090_909]),
    ([1.0, 0.0, 0.0], [0.880_000_000, 0.015_559_921, 0.015_559_921]),
    ([4.0, 2.0, 0.5], [0.983_255_814, 0.639_951_387, 0.382_473_067]),
    ([0.5, 20.0, 3.0], [0.743_669_029, 0.997_037_037, 0.776_152_107]),
    ([1000.0, 1000.0, 100.0], [0.999_942_368, 0.999_942_368, 0.993_976_044]),
];

/// The promise of the curve: base colours between 0.08 and 0.8 under white light come out as they went in, less the 0.04 of the interface.
#[test]
fn neutral_keeps_base_colors() {
    for rgb in [[0.08, 0.5, 0.8], [0.3, 0.3, 0.3], [0.8, 0.08, 0.44]] {
        assert_eq!(tone_map(rgb, ToneMap::Neutral, 1.0), rgb.map(|c| c - 0.04));
    }
}

#[test]
fn every_curve_stays_between_zero_and_one_and_never_turns_back() {
    for curve in [ToneMap::Neutral, ToneMap::Linear] {
        for hue in [[1.0, 1.0, 1.0], [1.0, 0.2, 0.0], [0.0, 0.0, 1.0]] {
            let mut last = 0.0;
            for step in 0..20_000 {
                let value = 10f32.powf(step as f32 / 20_000.0 * 45.0 - 7.0);
                let out = tone_map(hue.map(|c| c * value), curve, 1.0);
                let peak = out.into_iter().fold(0.0, f32::max);
                assert!(out.iter().all(|c| (0.0..=1.0).contains(c)), "{curve:?} {hue:?} × {value}: {out:?}");
                assert!(peak >= last - 1e-6, "{curve:?} {hue:?} × {value}: {peak} after {last}");
                last = peak;
            }
            assert!(last > 0.999, "{curve:?} {hue:?} ends at {last}");
        }
        assert_eq!(tone_map([-1.0, 0.0, 0.0], curve, 1.0), [0.0; 3], "negative light is none");
        assert_eq!(
            tone_map([1e38; 3], curve, 2f32.powi(20)),
            tone_map([1e38; 3], curve, 1.0),
            "a product that overflows"
        );
    }
}

#[test]
fn the_srgb_curve_is_the_standards_and_its_own_inverse() {
    for n in 0..=1000 {
        let x = n as f32 / 1000.0;
        assert!((f64::from(srgb_from_linear(x)) - oetf(f64::from(x))).abs() < 1e-6, "{x}");
        assert!((kiln_image::linear_from_srgb(srgb_from_linear(x)) - x).abs() < 1e-6, "{x}");
    }
}

/// Reads a PNG with the `png` crate: bit depth, color type, samples as 16-bit numbers, and whether it says sRGB.
fn read_png(bytes: &[u8]) -> (png::BitDepth, png::ColorType, Vec<u16>, bool) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let samples = match info.bit_depth {
        png::BitDepth::Sixteen => pixels.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect(),
        _ => pixels.iter().map(|&byte| u16::from(byte)).collect(),
    };
    (info.bit_depth, info.color_type, samples, reader.info().srgb.is_some())
}

#[test]
fn png_holds_every_pixel_rounded_to_the_nearest_step() {
    let film = film();
    for (bit_depth, transparent, exposure_ev) in [(8, false, 0.0), (8, true, 1.5), (16, false, -2.0), (16, true, 0.0)] {
        let (bytes, _) =
            encode_checked(&film, &spec(Format::Png, bit_depth), ToneMap::Linear, exposure_ev, transparent);
        let (depth, color, samples, says_srgb) = read_png(&bytes);
        assert_eq!(depth as u8, bit_depth);
        assert_eq!(color, if transparent { png::ColorType::Rgba } else { png::ColorType::Rgb });
        assert!(says_srgb);
        let channels = if transparent { 4 } else { 3 };
        let steps = if bit_depth == 16 { 65_535.0 } else { 255.0 };
        for (n, (pixel, written)) in film.rgba.iter().zip(samples.chunks(channels)).enumerate() {
            let expected = expected_linear(*pixel, f64::from(exposure_ev).exp2(), transparent);
            for (written, expected) in written.iter().zip(expected) {
                // Half a step, and what f32 does to the 2.4th root in front of it.
                let error = (f64::from(*written) - expected * steps).abs();
                assert!(
                    error < 0.5 + 2e-6 * steps,
                    "pixel {n} {pixel:?}, {bit_depth} bits: {written}, expected {}",
                    expected * steps
                );
            }
        }
    }
}

#[test]
fn webp_holds_the_same_pixels_as_png() {
    let film = film();
    for transparent in [false, true] {
        let (webp, _) = encode_checked(&film, &spec(Format::Webp, 8), ToneMap::Neutral, 0.3, transparent);
        let (png, _) = encode_checked(&film, &spec(Format::Png, 8), ToneMap::Neutral, 0.3, transparent);
        let webp = image::load_from_memory_with_format(&webp, image::ImageFormat::WebP).unwrap();
        let png = image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap();
        assert_eq!(webp.color().has_alpha(), transparent);
        assert!(webp == png, "transparent {transparent}");
    }
}

#[test]
fn exr_holds_every_float_as_it_was() {
    use exr::prelude::{FlatSamples, ReadChannels as _, ReadLayers as _};
    let film = film();
    for transparent in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // Neither curve nor exposure may touch it.
        encode(&film, &spec(Format::Exr, 8), ToneMap::Neutral, 3.0, background(transparent), dir.path()).unwrap();
        let picture = exr::prelude::read()
            .no_deep_data()
            .largest_resolution_level()
            .all_channels()
            .first_valid_layer()
            .all_attributes()
            .from_file(dir.path().join("image.exr"))
            .unwrap();
        let layer = picture.layer_data;
        assert_eq!((layer.size.0, layer.size.1), (film.width as usize, film.height as usize));
        let channel = |name: &str| {
            let found = layer.channel_data.list.iter().find(|c| c.name == *name).unwrap();
            match &found.sample_data {
                FlatSamples::F32(samples) => samples.clone(),
                other => panic!("channel {name} is {other:?}, expected 32-bit floats"),
            }
        };
        for (n, name) in ["R", "G", "B", "A"].into_iter().enumerate() {
            let expected: Vec<f32> =
                film.rgba.iter().map(|p| if n == 3 && !transparent { 1.0 } else { p[n] }).collect();
            assert!(channel(name) == expected, "channel {name}, transparent {transparent}");
        }
    }
    encode_checked(&film, &spec(Format::Exr, 8), ToneMap::Linear, 0.0, true);
}

#[test]
fn jpeg_is_near_the_picture_and_lays_transparency_over_white() {
    // Smooth, since JPEG's losses are at edges.
    let (width, height) = (64u32, 48u32);
    let rgba = (0..width * height)
        .map(|n| {
            let (x, y) = ((n % width) as f32 / 63.0, (n / width) as f32 / 47.0);
            [0.6 * x * y, 0.3 * y, 0.5 * (1.0 - x) * y, y]
        })
        .collect();
    let film = Film { width, height, rgba, samples: 1 };
    let best = OutputSpec { format: Format::Jpeg, bit_depth: 8, quality: 100 };
    for transparent in [false, true] {
        let (bytes, _) = encode_checked(&film, &best, ToneMap::Linear, 0.0, transparent);
        let decoded = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap().into_rgb8();
        assert_eq!(decoded.dimensions(), (width, height));
        for (pixel, written) in film.rgba.iter().zip(decoded.pixels()) {
            for (c, written) in written.0.iter().enumerate() {
                // Premultiplied over white is an addition.
                let linear = f64::from(pixel[c]) + if transparent { 1.0 - f64::from(pixel[3]) } else { 0.0 };
                let expected = oetf(linear.min(1.0)) * 255.0;
                assert!((f64::from(*written) - expected).abs() < 4.0, "{pixel:?}: {written}, expected {expected}");
            }
        }
    }
    let small = encode_checked(&film, &OutputSpec { quality: 20, ..best.clone() }, ToneMap::Linear, 0.0, false).0;
    assert!(small.len() < encode_checked(&film, &best, ToneMap::Linear, 0.0, false).0.len(), "quality has an effect");
}

#[test]
fn the_same_film_gives_the_same_bytes() {
    let film = film();
    for format in [Format::Png, Format::Jpeg, Format::Webp, Format::Exr] {
        let once = encode_checked(&film, &spec(format, 16), ToneMap::Neutral, 0.7, true);
        let twice = encode_checked(&film, &spec(format, 16), ToneMap::Neutral, 0.7, true);
        assert!(once == twice, "{format:?}");
    }
}

#[test]
fn what_is_not_a_number_is_counted_and_never_written() {
    let mut film = film();
    film.rgba[37 * 5 + 3][1] = f32::NAN;
    film.rgba[37 * 5 + 4][0] = f32::INFINITY;
    film.rgba[37 * 90][3] = f32::NEG_INFINITY;
    let dir = tempfile::tempdir().unwrap();
    for format in [Format::Png, Format::Jpeg, Format::Webp, Format::Exr] {
        match encode(&film, &spec(format, 8), ToneMap::Neutral, 0.0, Background::Environment, dir.path()) {
            Err(EncodeError::NotFinite { pixels: 3, x: 3, y: 5 }) => {}
            other => panic!("{format:?}: {other:?}"),
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
    assert!(matches!(
        preview_png(&film, ToneMap::Neutral, 0.0, Background::Environment),
        Err(EncodeError::NotFinite { .. })
    ));
}

#[test]
fn a_folder_that_is_not_there_is_an_error_with_its_path() {
    let nowhere = Path::new("/nonexistent/kiln");
    for format in [Format::Png, Format::Exr] {
        let error =
            encode(&film(), &spec(format, 8), ToneMap::Neutral, 0.0, Background::Environment, nowhere).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/kiln/image."), "{error}");
    }
}

#[test]
fn a_preview_is_the_8_bit_png_of_the_film() {
    let film = film();
    for transparent in [false, true] {
        let (file, _) = encode_checked(&film, &spec(Format::Png, 8), ToneMap::Neutral, -0.5, transparent);
        assert!(preview_png(&film, ToneMap::Neutral, -0.5, background(transparent)).unwrap() == file);
    }
}

#[test]
fn pictures_convert_into_each_other() {
    let film = film();
    for transparent in [false, true] {
        let encoded =
            |format, bit_depth| encode_checked(&film, &spec(format, bit_depth), ToneMap::Neutral, 0.0, transparent).0;
        let (png, webp, jpeg) = (encoded(Format::Png, 8), encoded(Format::Webp, 8), encoded(Format::Jpeg, 8));
        let to = |bytes: &[u8], from, to| kiln_image::convert(bytes, from, to, 90).unwrap();
        assert!(to(&png, "image/png", Format::Webp) == webp, "PNG to WebP is what WebP would have been");
        assert!(to(&webp, "image/webp", Format::Png).len() > 100);
        let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap();
        assert!(pixels(&to(&webp, "image/webp", Format::Png)) == pixels(&png), "WebP to PNG loses nothing");
        assert!(pixels(&to(&jpeg, "image/jpeg", Format::Png)) == pixels(&jpeg), "JPEG to PNG loses no more");
        assert!(to(&jpeg, "image/jpeg", Format::Jpeg) == jpeg, "nothing to do");
        if transparent {
            assert!(!pixels(&to(&png, "image/png", Format::Jpeg)).color().has_alpha());
        } else {
            assert!(to(&png, "image/png", Format::Jpeg) == jpeg, "PNG to JPEG is what JPEG would have been");
        }
        let deep = encoded(Format::Png, 16);
        let narrowed = pixels(&to(&deep, "image/png", Format::Webp)).into_rgba8();
        let near = narrowed.iter().zip(pixels(&png).into_rgba8().iter()).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(near, "16 bits narrow to the 8 bits there would have been");
    }
}

#[test]
fn a_transparent_png_becomes_a_jpeg_over_white_in_linear_light() {
    let film = Film { width: 16, height: 16, rgba: vec![[0.1, 0.0, 0.2, 0.5]; 256], samples: 1 };
    let (png, _) = encode_checked(&film, &spec(Format::Png, 8), ToneMap::Linear, 0.0, true);
    let jpeg = kiln_image::convert(&png, "image/png", Format::Jpeg, 100).unwrap();
    let pixel = image::load_from_memory(&jpeg).unwrap().into_rgb8().get_pixel(8, 8).0;
    for (written, linear) in pixel.into_iter().zip([0.6, 0.5, 0.7]) {
        assert!((f64::from(written) - oetf(linear) * 255.0).abs() < 3.0, "{pixel:?}");
    }
}

#[test]
fn conversions_that_make_no_sense_are_refused() {
    let (png, _) = encode_checked(&film(), &spec(Format::Png, 8), ToneMap::Linear, 0.0, false);
    for (from, to) in [("image/png", Format::Exr), ("image/x-exr", Format::Png), ("text/plain", Format::Webp)] {
        assert!(
            matches!(kiln_image::convert(&png, from, to, 90), Err(EncodeError::Unsupported { .. })),
            "{from} to {to:?}"
        );
    }
    for bytes in [&b"not a picture"[..], &png[..png.len() / 2], &[]] {
        assert!(matches!(kiln_image::convert(bytes, "image/png", Format::Jpeg, 90), Err(EncodeError::Decode { .. })));
    }
}

fn background(transparent: bool) -> Background {
    if transparent { Background::Transparent } else { Background::Environment }
}

#[test]
fn a_background_colour_is_what_was_asked_for_whatever_exposure_and_curve() {
    let film = Film { width: 2, height: 1, rgba: vec![[0.0; 4], [0.5, 0.5, 0.5, 0.5]], samples: 1 };
    let color = Background::Color([0xff, 0x80, 0x20]);
    for (curve, exposure_ev) in [(ToneMap::Neutral, 0.0), (ToneMap::Neutral, 3.0), (ToneMap::Linear, -2.0)] {
        let png = preview_png(&film, curve, exposure_ev, color).unwrap();
        let picture = ::image::load_from_memory(&png).unwrap();
        assert!(!picture.color().has_alpha());
        assert_eq!(picture.to_rgb8().get_pixel(0, 0).0, [0xff, 0x80, 0x20], "{curve:?} at {exposure_ev} EV");
    }
    // Half covered by a white surface: half way in display-linear light.
    let png = preview_png(&film, ToneMap::Linear, 0.0, color).unwrap();
    let found = ::image::load_from_memory(&png).unwrap().to_rgb8().get_pixel(1, 0).0;
    let half = |srgb: f64| {
        let linear = if srgb <= 0.04045 { srgb / 12.92 } else { ((srgb + 0.055) / 1.055).powf(2.4) };
        let mean: f64 = 0.5 + 0.5 * linear;
        (1.055 * mean.powf(1.0 / 2.4) - 0.055) * 255.0
    };
    for (found, srgb) in found.into_iter().zip([1.0, 128.0 / 255.0, 32.0 / 255.0]) {
        assert!((f64::from(found) - half(srgb)).abs() <= 0.51, "{found} for {srgb}");
    }
}
