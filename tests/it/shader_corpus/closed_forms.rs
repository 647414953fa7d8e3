//! Pictures that can be computed by hand: what a shader must show by the specification, not by an earlier run.
//!
//! Most of these shaders write numbers as bits: bit n of a number is the n-th of as many columns, counted from the left, white where it
//! is set. Rows share the height of the picture evenly.

use image::{Rgb, RgbImage};
use std::collections::HashSet;

/// Checks a picture, if there is a closed form for it.
///
/// # Errors
/// What was expected and what was found.
pub fn check(name: &str, picture: &RgbImage) -> Result<(), String> {
    match name {
        // Frames 0 to 37 ran: 38 of them, whose numbers add up to 703.
        "compute_toys/frame_counter" => rows(picture, &[38, 703, 37]),
        "compute_toys/dispatch_count" => rows(picture, &[1234, 5]),
        "compute_toys/dispatch_once" => rows(picture, &[1, 3 << 10]),
        "compute_toys/dispatch_count_zero" => rows(picture, &[1, 7 * 3]),
        "compute_toys/workgroup_count" => workgroup_count(picture),
        "compute_toys/workgroup_size_name" => rows(picture, &[96]),
        "compute_toys/entry_order" => {
            pixels(picture, &[((48, 32), [0.7, 0.1, 0.1]), ((2, 2), [0.1, 0.2, 0.5]), ((10, 10), [0.9, 0.85, 0.7])])
        }
        "compute_toys/screen_persists" => screen_persists(picture),
        // Eight frames a second: no time has passed at frame 0, and a sixteenth twice a frame since.
        "compute_toys/clock" => rows(picture, &[1, 48, 48, 24]),
        // Five frames of three dispatches; a dispatch does not see its own stores.
        "compute_toys/pass_after_dispatch" => rows(picture, &[15, 14]),
        "compute_toys/pass_half_precision" => rows(picture, &[2048]),
        "compute_toys/pass_float32" => rows(picture, &[2051]),
        "compute_toys/life" => life(picture),
        "compute_toys/sandpile" => sandpile(picture),
        "compute_toys/atomics" => atomics(picture),
        "compute_toys/workgroup_reduce" => rows(picture, &[(64 * 95 * 96 / 2) % 65_536, 345]),
        "compute_toys/workgroup_sort" => sorted(picture),
        "compute_toys/float_classes" => float_classes(picture),
        "compute_toys/conditionals" | "compute_toys/calcdefine" | "compute_toys/macros" => green(picture),
        "shadertoy/macros" => green(picture),
        "shadertoy/blank" => no_red(picture),
        "compute_toys/scan_sums" | "compute_toys/aliases" | "compute_toys/subgroups" | "kiln/subgroups" => {
            no_red(picture)
        }
        "compute_toys/sliders" => sliders(picture),
        "compute_toys/no_sliders" => {
            all(picture, |x, y, [red, green, _]| green == 255 && (red == 255) == ((x / 8 + y / 8) % 2 == 1))
        }
        "compute_toys/keyboard" => keyboard(picture),
        "compute_toys/mouse" => {
            let lower = image::imageops::crop_imm(picture, 0, 48, 96, 16).to_image();
            rows(&lower, &[75 * 256 + 44, 20 * 256 + 10, (64 - 5) * 256 + 64 + 4, 40])
        }
        "compute_toys/half_floats" => pixels(picture, &[((10, 10), [0.8, 0.2, 0.3]), ((90, 50), [0.2, 0.8, 0.3])]),
        // 128 MiB of u32: the last index is 2²⁵ - 1. Four frames ran.
        "compute_toys/storage_open" => {
            let middle = [(&[10, 8191][..]), (&[32, 12]), (&[54, 20])];
            middle.iter().try_for_each(|row| number_at(picture, row[0], 16, row[1]))
        }
        "compute_toys/color_curve" => {
            let ramp: Vec<_> = [0, 24, 48, 95].map(|x| ((x, 5), [x as f64 / 95.0; 3])).into();
            pixels(picture, &ramp)?;
            // Decoded by hand and encoded again: the numbers themselves.
            all(picture, |x, y, [red, ..]| {
                !(22..44).contains(&y) || (f64::from(red) - f64::from(x) / 95.0 * 255.0).abs() <= 2.0
            })
        }
        "compute_toys/odd_size" => {
            let corners = [(0, 0), (60, 0), (0, 36), (60, 36)].map(|at| (at, [1.0; 3]));
            pixels(picture, &corners)
        }
        "shadertoy/buffers" => rows(picture, &[25, 26, 27, 28]),
        "shadertoy/mouse_buttons" => rows(picture, &[7, 2, 60 * 256 + 44, 60 * 256 + 44]),
        "shadertoy/clock" => rows(picture, &[24, 48, 48, 8]),
        "shadertoy/date" => rows(picture, &[1970, 1, 1, 40]),
        "shadertoy/upright" => upright(picture),
        "shadertoy/loops" => loops(picture),
        "kiln/output_bytes" => {
            all(picture, |x, y, color| y >= 32 || color.iter().all(|&value| near(value, f64::from(x * 16 / 96) / 15.0)))
        }
        "kiln/output_floats" => numbers(picture, 24, &[1_048_576 + 5]),
        "kiln/clock" => rows(picture, &[24, 48, 2, 96, 64, 51_966]),
        // Eleven frames.
        "kiln/storage_persists" => rows(picture, &[11, 55, 1, 33]),
        "kiln/storage_sizes" => rows(picture, &[96 * 64, (4096 - 16) / 8, 0xabcd, 0x1234]),
        "kiln/rule_110" => rule_110(picture),
        "kiln/half_floats" => pixels(picture, &[((10, 10), [0.0, 1.0, 0.2]), ((90, 10), [0.25, 0.75, 0.2])]),
        // Frame 21 behind nine of warm-up: the hand has gone round half way.
        "kiln/warmup" => pixels(picture, &[((48, 50), [0.1, 0.1, 0.3]), ((48, 12), [0.9; 3])]),
        _ => Ok(()),
    }
}

/// Names of all shaders that have a closed form.
pub fn known() -> HashSet<&'static str> {
    include_str!("closed_forms.rs")
        .split('"')
        .filter(|text| {
            ["compute_toys/", "shadertoy/", "kiln/"]
                .iter()
                .any(|folder| text.starts_with(folder) && text.len() > folder.len())
        })
        .collect()
}

/// Linear to sRGB (IEC 61966-2-1), to 255.
fn encoded(linear: f64) -> f64 {
    let linear = linear.clamp(0.0, 1.0);
    255.0 * if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// True if a byte is a linear number's, to one step.
fn near(value: u8, linear: f64) -> bool {
    (f64::from(value) - encoded(linear)).abs() <= 1.001
}

fn pixels(picture: &RgbImage, expected: &[((u32, u32), [f64; 3])]) -> Result<(), String> {
    for &((x, y), color) in expected {
        let Rgb(found) = *picture.get_pixel(x, y);
        if !found.iter().zip(color).all(|(&value, linear)| near(value, linear)) {
            return Err(format!(
                "the pixel {x}, {y} is {found:?}, expected {:?}",
                color.map(|value| encoded(value) as u8)
            ));
        }
    }
    Ok(())
}

fn all(picture: &RgbImage, holds: impl Fn(u32, u32, [u8; 3]) -> bool) -> Result<(), String> {
    match picture.enumerate_pixels().find(|(x, y, pixel)| !holds(*x, *y, pixel.0)) {
        Some((x, y, pixel)) => Err(format!("the pixel {x}, {y} is {:?}, which it must not be", pixel.0)),
        None => Ok(()),
    }
}

fn green(picture: &RgbImage) -> Result<(), String> {
    all(picture, |_, _, color| color == [0, 255, 0])
}

fn no_red(picture: &RgbImage) -> Result<(), String> {
    all(picture, |_, _, color| color != [255, 0, 0])
}

fn rows(picture: &RgbImage, expected: &[u32]) -> Result<(), String> {
    numbers(picture, 16, expected)
}

/// Rows of numbers of so many bits.
fn numbers(picture: &RgbImage, bits: u32, expected: &[u32]) -> Result<(), String> {
    let height = picture.height() as usize;
    expected.iter().enumerate().try_for_each(|(row, &number)| {
        let y = (2 * row + 1) * height / (2 * expected.len());
        number_at(picture, y as u32, bits, number)
    })
}

fn number_at(picture: &RgbImage, y: u32, bits: u32, expected: u32) -> Result<(), String> {
    let mut found = 0;
    for bit in 0..bits {
        let pixel = picture.get_pixel((2 * bit + 1) * picture.width() / (2 * bits), y).0;
        match pixel {
            [255, 255, 255] => found |= 1 << bit,
            [0, 0, 0] => {}
            _ => return Err(format!("bit {bit} of the row at {y} is {pixel:?}, neither black nor white")),
        }
    }
    if found == expected { Ok(()) } else { Err(format!("the row at {y} shows {found}, expected {expected}")) }
}

/// 3 × 2 workgroups of 8 × 8; the rest was never written.
fn workgroup_count(picture: &RgbImage) -> Result<(), String> {
    all(picture, |x, y, color| {
        if x >= 24 || y >= 16 {
            return color == [0; 3];
        }
        let tint = [f64::from(x / 8 + 1) / 3.0, f64::from(y / 8 + 1) / 2.0, 0.25];
        color.iter().zip(tint).all(|(&value, linear)| near(value, linear))
    })
}

/// Ten frames of eight columns each.
fn screen_persists(picture: &RgbImage) -> Result<(), String> {
    all(picture, |x, y, color| {
        let shade = f64::from(x / 8 + 1) / 12.0;
        let expected = [shade, f64::from(y) / 64.0, 1.0 - shade];
        if x < 80 { color.iter().zip(expected).all(|(&value, linear)| near(value, linear)) } else { color == [0; 3] }
    })
}

/// Forty generations from the seed of the shader, on a torus of 48 × 32.
fn life(picture: &RgbImage) -> Result<(), String> {
    let seed = [(24, 16), (25, 16), (23, 17), (24, 17), (24, 18), (5, 4), (6, 5), (4, 6), (5, 6), (6, 6)];
    let mut alive: HashSet<(i32, i32)> = seed.into();
    for _ in 0..40 {
        let neighbours = |(x, y): (i32, i32)| {
            let around = (0..9).filter(|i| *i != 4).map(move |i| (i % 3 - 1, i / 3 - 1));
            around.map(move |(dx, dy)| ((x + dx).rem_euclid(48), (y + dy).rem_euclid(32)))
        };
        let cells = (0..48 * 32).map(|i| (i % 48, i / 48));
        alive = cells
            .filter(|&cell| {
                let n = neighbours(cell).filter(|other| alive.contains(other)).count();
                n == 3 || (n == 2 && alive.contains(&cell))
            })
            .collect();
    }
    all(picture, |x, y, [_, green, _]| (green == 255) == alive.contains(&((x / 2) as i32, (y / 2) as i32)))
}

/// Twelve frames of 128 steps, each of which begins with 500 more grains in the middle.
fn sandpile(picture: &RgbImage) -> Result<(), String> {
    const WIDTH: usize = 96;
    const HEIGHT: usize = 64;
    let mut grains = vec![0_u32; WIDTH * HEIGHT];
    for step in 0..12 * 128 {
        let mut next: Vec<u32> = grains.iter().map(|n| n % 4).collect();
        for (i, n) in grains.iter().enumerate() {
            let (x, y) = (i % WIDTH, i / WIDTH);
            let given = n / 4;
            if x > 0 {
                next[i - 1] += given;
            }
            if x + 1 < WIDTH {
                next[i + 1] += given;
            }
            if y > 0 {
                next[i - WIDTH] += given;
            }
            if y + 1 < HEIGHT {
                next[i + WIDTH] += given;
            }
        }
        if step % 128 == 0 {
            next[32 * WIDTH + 48] += 500;
        }
        grains = next;
    }
    let palette = [[0.02, 0.02, 0.1], [0.1, 0.3, 0.6], [0.9, 0.7, 0.2], [0.8, 0.15, 0.1], [1.0, 1.0, 1.0]];
    all(picture, |x, y, color| {
        let n = grains[y as usize * WIDTH + x as usize].min(4);
        color.iter().zip(palette[n as usize]).all(|(&value, linear)| near(value, linear))
    })
}

/// What 64 invocations leave behind, in any order.
fn atomics(picture: &RgbImage) -> Result<(), String> {
    let sum: u32 = (0..64).sum();
    let exclusive = (0..64).fold(0, |all, i: u32| all ^ (i * 257 + 1));
    let expected = [sum, 10_000 - 2 * sum, 6300, 700, 0xff00, 0x0fff, exclusive, 4321, 1, (100 + 63) * 256 + (10 + 5)];
    expected.iter().enumerate().try_for_each(|(row, &number)| number_at(picture, 6 * row as u32 + 3, 16, number))
}

/// The right side of every row has the greys of its left side, sorted: the left 32 of them are in the picture.
fn sorted(picture: &RgbImage) -> Result<(), String> {
    let scrambled = |x: u32, y: u32| {
        let mut h = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
        h ^= h >> 15;
        (h.wrapping_mul(0x2c1b_3c6d) >> 24) & 0xff
    };
    for y in 0..64 {
        let mut keys: Vec<u32> = (0..64).map(|x| scrambled(x, y / 4)).collect();
        let linear = |key: u32| f64::from(key) / 255.0;
        if !(0..64).all(|x| near(picture.get_pixel(x, y).0[0], linear(keys[x as usize]))) {
            return Err(format!("row {y} does not show its keys"));
        }
        keys.sort_unstable();
        if !(0..32).all(|x| near(picture.get_pixel(64 + x, y).0[0], linear(keys[x as usize]))) {
            return Err(format!("row {y} is not sorted"));
        }
    }
    Ok(())
}

fn float_classes(picture: &RgbImage) -> Result<(), String> {
    let values = [0.0, f32::from_bits(1), f32::MIN_POSITIVE, 1.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    all(picture, |x, y, color| {
        let value = values[x as usize * 8 / 96];
        let class = [value.is_infinite(), value.is_nan(), value.is_normal(), value.is_finite()][y as usize * 4 / 64];
        color == [if class { 255 } else { 0 }; 3]
    })
}

/// Bars of a quarter, a half and seven eighths of the width.
fn sliders(picture: &RgbImage) -> Result<(), String> {
    no_red(picture)?;
    for (y, value, color) in [(10, 0.25, [0.9, 0.5, 0.1]), (30, 0.5, [0.1, 0.8, 0.2]), (55, 0.875, [0.2, 0.3, 1.0])] {
        let end = (96.0 * value) as u32;
        pixels(picture, &[((end - 1, y), color), ((end, y), [0.02; 3])])?;
    }
    Ok(())
}

/// Keys 65, 40 and 255 are down in frame 10; 37 was for three frames, 38 for one, 40 has been for eight.
fn keyboard(picture: &RgbImage) -> Result<(), String> {
    for (row, frames) in [3, 1, 0, 8].into_iter().enumerate() {
        number_at(picture, 50 + 4 * row as u32, 16, frames)?;
    }
    all(picture, |x, y, [red, ..]| y >= 48 || (red > 128) == [65, 40, 255].contains(&(x / 6 + 16 * (y / 3))))
}

/// The channel stands upright on the left, and y counts from below on the right.
fn upright(picture: &RgbImage) -> Result<(), String> {
    let at = |x, y| picture.get_pixel(x, y).0;
    let expected = [
        (at(4, 4), [0, 0, 0]),
        (at(18, 20), [230, 40, 30]),
        (at(40, 10), [40, 190, 60]),
        (at(10, 50), [30, 60, 220]),
        (at(40, 50), [240, 240, 240]),
        (at(70, 5), [255, 0, 0]),
        (at(70, 58), [0, 0, 255]),
        (at(0, 30), [255, 255, 255]),
        (at(30, 63), [255, 255, 255]),
    ];
    match expected.iter().find(|(found, color)| found.iter().zip(color).any(|(a, b)| a.abs_diff(*b) > 1)) {
        Some((found, color)) => Err(format!("found {found:?}, expected {color:?}")),
        None => Ok(()),
    }
}

/// The steps of Collatz' sequence, digit sums and small prime factors; numbers as they are, since a shadertoy's picture is.
fn loops(picture: &RgbImage) -> Result<(), String> {
    all(picture, |x, y, color| {
        let mut n = 1 + x / 2 + 48 * ((63 - y) / 2);
        let factors = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].iter().filter(|prime| n % **prime == 0).count();
        let digits: u32 = n.to_string().bytes().map(|digit| u32::from(digit - b'0')).sum();
        let mut steps = 0;
        while n > 1 {
            n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        let expected = [f64::from(steps) / 130.0, f64::from(digits) / 24.0, factors as f64 / 4.0];
        color.iter().zip(expected).all(|(&value, number)| (f64::from(value) - 255.0 * number.min(1.0)).abs() <= 1.001)
    })
}

/// Sixty generations below the first row, whose last cell is alive.
fn rule_110(picture: &RgbImage) -> Result<(), String> {
    let mut row = [0_u32; 96];
    row[95] = 1;
    for y in 0..61 {
        if let Some(x) = (0..96).find(|&x| (picture.get_pixel(x as u32, y).0 == [255; 3]) != (row[x] == 1)) {
            return Err(format!("the cell {x} of generation {y} is wrong"));
        }
        row = std::array::from_fn(|x| (110 >> (4 * row[(x + 95) % 96] + 2 * row[x] + row[(x + 1) % 96])) & 1);
    }
    all(picture, |_, y, color| y < 61 || color == [0; 3])
}
