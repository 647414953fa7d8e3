//! Film sums → picture, on the device thread: means over samples, and a mosaic where there is not even one sample everywhere.

use super::settings::RenderSettings;
use crate::image::Film;

/// The part of the picture that must be there for a mosaic of it, as 1 / this.
pub(super) const MOSAIC_PART: u64 = 16;

/// The picture of these sums, one a place of the work order, after `items_done` items: the mean over each pixel's samples. Channels that
/// are not finite become 0; how many pixels had one is the second value. While not every pixel has a sample, a pixel without one shows the mean of
/// the nearest tile that has some: the work order scatters tiles all over the picture, so this soon shows what will be seen.
pub(super) fn picture(settings: &RenderSettings, sums: &[[f32; 4]], items_done: u64) -> (Film, u32) {
    let order_count = u64::from(settings.order_count());
    let whole = items_done / order_count;
    // Places of the work order that have one sample more.
    let ahead = items_done % order_count;
    let mut rgba = vec![[0.0_f32; 4]; settings.width as usize * settings.height as usize];
    let mut not_finite = 0;
    let order_pixel = settings.order_pixels();
    for (order, sum) in (0_u32..).zip(sums) {
        let samples = whole + u64::from(u64::from(order) < ahead);
        if let Some(pixel) = order_pixel(order)
            && samples > 0
        {
            let mean = sum.map(|channel| (f64::from(channel) / samples as f64) as f32);
            not_finite += u32::from(mean.iter().any(|channel| !channel.is_finite()));
            rgba[pixel] = mean.map(|channel| if channel.is_finite() { channel } else { 0.0 });
        }
    }
    if whole == 0 {
        fill_gaps(settings, ahead, &mut rgba);
    }
    (Film { width: settings.width, height: settings.height, rgba, samples: whole as u32 }, not_finite)
}

/// Gives each pixel at a place from `done` on the mean of the nearest tile that has samples, its own if it has some.
fn fill_gaps(settings: &RenderSettings, done: u64, rgba: &mut [[f32; 4]]) {
    let [tiles_x, tiles_y] = settings.tiles();
    let tile_of = |pixel: usize| {
        let (x, y) = (pixel as u32 % settings.width, pixel as u32 / settings.width);
        ((y / 8) * tiles_x + x / 8) as usize
    };
    let order_pixel = settings.order_pixels();
    let mut tiles = vec![([0.0_f64; 4], 0_u32); (tiles_x * tiles_y) as usize];
    for pixel in (0..done as u32).filter_map(&order_pixel) {
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
    for pixel in (done as u32..settings.order_count()).filter_map(&order_pixel) {
        rgba[pixel] = color[tile_of(pixel)].unwrap_or_default();
    }
}
