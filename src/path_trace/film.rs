//! Film sums → picture, on the device thread: means over samples, and a mosaic where there is not even one sample everywhere.

use super::passes::{Done, place_pixels};
use super::settings::RenderSettings;
use crate::image::Film;

/// The part of the picture that must be there for a mosaic of it, as 1 / this.
pub(super) const MOSAIC_PART: u64 = 16;

/// The picture of these sums, one a place of the work order in parts of `part_places`, as far as it is done: the mean over each pixel's
/// samples. Channels that are not finite become 0; how many pixels had one is the second value. While not every pixel has a sample, a pixel
/// without one shows the mean of the nearest tile that has some: the first pass scatters tiles all over the picture, so this soon shows what
/// will be seen.
pub(super) fn picture(settings: &RenderSettings, sums: &[[f32; 4]], part_places: u32, done: Done) -> (Film, u32) {
    let mut rgba = vec![[0.0_f32; 4]; settings.width as usize * settings.height as usize];
    let mut not_finite = 0;
    let turn_place = done.turn_places(settings.order_count(), part_places);
    let place_pixel = place_pixels(settings.width, settings.height);
    for turn in 0..settings.order_count() {
        let (place, samples) = (turn_place(turn), done.samples_at(turn));
        if let Some(pixel) = place_pixel(place)
            && samples > 0
        {
            let mean = sums[place as usize].map(|channel| (f64::from(channel) / f64::from(samples)) as f32);
            not_finite += u32::from(mean.iter().any(|channel| !channel.is_finite()));
            rgba[pixel] = mean.map(|channel| if channel.is_finite() { channel } else { 0.0 });
        }
    }
    if done.samples == 0 {
        fill_gaps(settings, done.pass_places, |turn| place_pixel(turn_place(turn)), &mut rgba);
    }
    (Film { width: settings.width, height: settings.height, rgba, samples: done.samples }, not_finite)
}

/// Gives each pixel whose turn is from `done` on the mean of the nearest tile that has samples, its own if it has some.
fn fill_gaps(settings: &RenderSettings, done: u32, turn_pixel: impl Fn(u32) -> Option<usize>, rgba: &mut [[f32; 4]]) {
    let [tiles_x, tiles_y] = settings.tiles();
    let tile_of = |pixel: usize| {
        let (x, y) = (pixel as u32 % settings.width, pixel as u32 / settings.width);
        ((y / 8) * tiles_x + x / 8) as usize
    };
    let mut tiles = vec![([0.0_f64; 4], 0_u32); (tiles_x * tiles_y) as usize];
    for pixel in (0..done).filter_map(&turn_pixel) {
        let (sum, count) = &mut tiles[tile_of(pixel)];
        (0..4).for_each(|channel| sum[channel] += f64::from(rgba[pixel][channel]));
        *count += 1;
    }
    let mut color: Vec<Option<[f32; 4]>> = tiles
        .iter()
        .map(|(sum, count)| (*count > 0).then(|| sum.map(|channel| (channel / f64::from(*count)) as f32)))
        .collect();
    // Breadth first from all tiles that have samples: each empty one takes the colour of whom reaches it first.
    let mut queue: std::collections::VecDeque<u32> =
        (0..tiles_x * tiles_y).filter(|&tile| color[tile as usize].is_some()).collect();
    while let Some(tile) = queue.pop_front() {
        let (x, y) = (tile % tiles_x, tile / tiles_x);
        for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1)] {
            let (Some(x), Some(y)) = (x.checked_add_signed(dx), y.checked_add_signed(dy)) else { continue };
            if x < tiles_x && y < tiles_y && color[(y * tiles_x + x) as usize].is_none() {
                color[(y * tiles_x + x) as usize] = color[tile as usize];
                queue.push_back(y * tiles_x + x);
            }
        }
    }
    for pixel in (done..settings.order_count()).filter_map(&turn_pixel) {
        rgba[pixel] = color[tile_of(pixel)].unwrap_or_default();
    }
}
