//! Our pictures against those of another renderer (Mitsuba 3; see `tests/references/`).

use kiln::bench::Machine;
use kiln::image::Film;
use kiln::path_trace::{Background, RenderSettings};
use kiln::scene::{self, environment};
use kiln::{job::spec::Preset, sample_scenes};

fn floats(bytes: &[u8]) -> Vec<[f64; 3]> {
    let values: Vec<f64> =
        bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap()) as f64).collect();
    values.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

fn machine() -> Option<Machine> {
    match Machine::open() {
        Ok(machine) => Some(machine),
        Err(why) => {
            let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "KILN_REQUIRE_GPU=1, but no GPU can be used: {why}");
            eprintln!("======== SKIPPED: this test needs a GPU adapter, and there is none: {why} ========");
            None
        }
    }
}

/// Mean over blocks of `side` × `side` pixels of a picture of 64 × 64.
fn blocks(pixels: &[[f64; 3]], side: usize) -> Vec<[f64; 3]> {
    let per_row = 64 / side;
    let mut sums = vec![[0.0; 3]; per_row * per_row];
    for (index, pixel) in pixels.iter().enumerate() {
        let block = &mut sums[(index / 64 / side) * per_row + (index % 64) / side];
        for channel in 0..3 {
            block[channel] += pixel[channel] / (side * side) as f64;
        }
    }
    sums
}

/// Mitsuba's `cornell_box.f32` and the variance of its means, against ours: global illumination of diffuse surfaces with an area
/// light, eight bounces. Per tile of 8 × 8 pixels the difference must be explained by noise and, at edges, by the pixel filter.
#[test]
fn the_cornell_box_matches_mitsuba() {
    let Some(machine) = machine() else { return };
    let reference = floats(include_bytes!("../references/cornell_box.f32"));
    let variance = floats(include_bytes!("../references/cornell_box_variance.f32"));
    let scene = machine.load(sample_scenes::cornell_box()).unwrap();
    let render = |seed| -> Film {
        let settings = RenderSettings {
            width: 64,
            height: 64,
            samples: 256,
            max_bounces: 8,
            seed,
            clamp_indirect: 0.0,
            camera: scene::camera::resolve(&scene, None, 1.0).unwrap(),
            background: Background::Environment,
            environment_intensity: 1.0,
            environment_rotation_rad: 0.0,
            slice_paths: None,
        };
        let (film, stats) = machine.render(&scene, environment::preset(Preset::Black), settings).unwrap();
        assert_eq!(stats.nan_pixels, 0);
        film
    };
    const RUNS: usize = 4;
    let runs: Vec<Vec<[f64; 3]>> = (0..RUNS)
        .map(|seed| render(seed as u32).rgba.iter().map(|p| [p[0] as f64, p[1] as f64, p[2] as f64]).collect())
        .map(|pixels: Vec<_>| blocks(&pixels, 8))
        .collect();
    let reference = blocks(&reference, 8);
    let variance = blocks(&variance, 8);
    let (mut worst, mut squares, mut total, mut total_reference) = (0.0f64, 0.0, 0.0, 0.0);
    for tile in 0..64 {
        for channel in 0..3 {
            let values: Vec<f64> = runs.iter().map(|run| run[tile][channel]).collect();
            let mean = values.iter().sum::<f64>() / RUNS as f64;
            let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / ((RUNS - 1) * RUNS) as f64;
            let expected = reference[tile][channel];
            let difference = mean - expected;
            // 64 pixels of the reference are averaged; 0.4 % of the value stands for the filter at edges.
            let sigma = (spread + variance[tile][channel] / 64.0).sqrt() + 0.004 * expected;
            worst = worst.max((difference / sigma).abs());
            squares += difference * difference / (expected * expected + 1e-4);
            total += mean;
            total_reference += expected;
        }
    }
    let relative_mse = squares / 192.0;
    let brightness = total / total_reference;
    assert!((brightness - 1.0).abs() < 0.004, "the whole picture is {brightness} times as bright as Mitsuba's");
    assert!(relative_mse < 2e-4, "relative MSE {relative_mse:.2e}");
    assert!(worst < 6.0, "one tile differs by {worst:.1} standard deviations");
}
