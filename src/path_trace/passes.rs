//! The order of a render's work, as in `shaders/lib/pixels.wgsl`.
//!
//! The work order has a place for every pixel, tile by tile of 8×8, such that a run of places is a compact part of the picture. A render goes
//! over the picture in passes. A pass gives every place of the work order the same number of samples, as many as there are already and at
//! most [`PASS_SAMPLES_MAX`], so that a whole picture of every quality comes early: after 1, 2, 4, 8 and 16 samples. Within a pass a batch
//! gives some places all of the pass's samples before it goes on to the next ones: paths that start close together meet the same part of the
//! scene, which is then in the caches. In the first pass the tiles come in an order that scatters them, so that a part of it soon shows what
//! there will be.

/// Samples that one pass adds to a place, at most, unless all of the picture's fit one batch.
const PASS_SAMPLES_MAX: u32 = 16;
/// Places that slots of a batch are grouped by; see `shaders/lib/pixels.wgsl`.
const GROUP_PLACES: u32 = 64;
/// Tiles in a column of a strip that is whole.
const STRIP_TILES: u32 = 8;

/// How far a render has come: whole passes, and a part of the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Done {
    /// Samples that every place of the work order has.
    pub samples: u32,
    /// Samples that the present pass adds to each place; 0 between two passes.
    pub pass_samples: u32,
    /// Places that have them, those whose turn was first.
    pub pass_places: u32,
}

impl Done {
    /// Samples of all places.
    pub fn items(&self, order_count: u32) -> u64 {
        u64::from(order_count) * u64::from(self.samples) + u64::from(self.pass_places) * u64::from(self.pass_samples)
    }

    /// Samples of the place whose turn is after `turn` others.
    pub fn samples_at(&self, turn: u32) -> u32 {
        self.samples + if turn < self.pass_places { self.pass_samples } else { 0 }
    }

    /// From a turn in the present pass to its place. `part_places` are those that one part of the film has, at most.
    pub fn turn_places(&self, order_count: u32, part_places: u32) -> impl Fn(u32) -> u32 + use<> {
        let first_pass = self.samples == 0;
        let parts = (0..order_count).step_by(part_places as usize);
        let strides: Vec<u32> = parts.map(|first| tile_stride((order_count - first).min(part_places) / 64)).collect();
        move |turn| {
            let part = turn / part_places;
            let first = part * part_places;
            let tiles = (order_count - first).min(part_places) / 64;
            let tile = (turn - first) / 64;
            let tile = if first_pass { tile * strides[part as usize] % tiles } else { tile };
            first + tile * 64 + turn % 64
        }
    }

    /// See `tile_stride` in `shaders/lib/types.wgsl`: in the first pass it scatters the `tiles` of a part of the film.
    pub fn tile_stride(&self, tiles: u32) -> u32 {
        if self.samples == 0 { tile_stride(tiles) } else { 1 }
    }

    /// Whether a render of `order_count` places and `samples` samples with room for `pool_paths` paths can be here.
    pub fn is_sound(&self, order_count: u32, samples: u32, pool_paths: u32) -> bool {
        let after = self.samples.checked_add(self.pass_samples);
        let fits = self.pass_samples <= 1 || self.pass_samples <= pool_paths / GROUP_PLACES;
        let within = (self.pass_samples == 0) == (self.pass_places == 0) && self.pass_places < order_count;
        let whole_groups = self.pass_samples <= 1 || self.pass_places.is_multiple_of(GROUP_PLACES);
        after.is_some_and(|after| after <= samples) && fits && within && whole_groups
    }

    /// Begins a pass where none is under way, and says how many places the next batch has: at least one, as long as the render is not over.
    /// `paths` is the room that there is now; it can become less within a pass, and then counts for the places only.
    pub fn next_batch(&mut self, order_count: u32, samples: u32, paths: u32) -> u32 {
        if self.pass_samples == 0 {
            let most = (paths / order_count).max(PASS_SAMPLES_MAX).min((paths / GROUP_PLACES).max(1));
            self.pass_samples = self.samples.max(1).min(most).min(samples - self.samples);
        }
        let places = match self.pass_samples {
            0 | 1 => paths,
            more => (paths / more / GROUP_PLACES).max(1) * GROUP_PLACES,
        };
        places.min(order_count - self.pass_places)
    }

    /// Counts a batch of `places` that has ended.
    pub fn add(&mut self, places: u32, order_count: u32) {
        self.pass_places += places;
        if self.pass_places >= order_count {
            *self = Self { samples: self.samples + self.pass_samples, ..Self::default() };
        }
    }
}

/// About the golden ratio of the tiles, without a common divisor with their number, and small enough that no product leaves 32 bits.
fn tile_stride(tiles: u32) -> u32 {
    let most = (u32::MAX / tiles.max(1)).min(tiles.max(1));
    let golden = (f64::from(most) * 0.618_033_988_75) as u32;
    (1..=golden.max(1)).rev().find(|&stride| gcd(stride, tiles) == 1).unwrap_or(1)
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Tiles of 8×8 pixels that cover a picture.
pub(super) fn tiles(width: u32, height: u32) -> [u32; 2] {
    [width.div_ceil(8), height.div_ceil(8)]
}

/// From a place in the work order to its pixel, if it is in the picture: row-major index.
pub(super) fn place_pixels(width: u32, height: u32) -> impl Fn(u32) -> Option<usize> {
    let [tiles_x, tiles_y] = tiles(width, height);
    move |place| {
        let tile = place / 64;
        let strip = tile / (STRIP_TILES * tiles_x);
        let in_strip = tile % (STRIP_TILES * tiles_x);
        let column = STRIP_TILES.min(tiles_y - strip * STRIP_TILES);
        let i = place % 64;
        let x = 8 * (in_strip / column) + ((i & 3) | ((i >> 1) & 4));
        let y = 8 * (strip * STRIP_TILES + in_strip % column) + (((i >> 2) & 1) | ((i >> 3) & 6));
        (x < width && y < height).then(|| y as usize * width as usize + x as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_has_one_place_and_every_place_one_turn() {
        for (width, height) in [(1, 1), (64, 64), (65, 3), (3, 130), (200, 77)] {
            let order_count = 64 * tiles(width, height).iter().product::<u32>();
            let mut pixels: Vec<usize> = (0..order_count).filter_map(place_pixels(width, height)).collect();
            pixels.sort_unstable();
            assert!(pixels.into_iter().eq(0..(width * height) as usize), "{width}×{height}");
            for (samples, part_places) in [(0, order_count), (0, 128), (3, 128)] {
                let places = Done { samples, ..Done::default() }.turn_places(order_count, part_places);
                let mut places: Vec<u32> = (0..order_count).map(places).collect();
                assert!(places.chunks(64).all(|tile| tile.windows(2).all(|pair| pair[1] == pair[0] + 1)));
                places.sort_unstable();
                assert!(places.into_iter().eq(0..order_count), "{width}×{height} in parts of {part_places}");
            }
        }
    }

    /// Runs a render of this size to its end, and returns the states between its batches.
    fn states(order_count: u32, samples: u32, pool_paths: u32, mut paths: impl FnMut() -> u32) -> Vec<Done> {
        let mut done = Done::default();
        let mut states = vec![done];
        while done.samples < samples {
            let places = done.next_batch(order_count, samples, paths());
            assert!(places > 0 && places * done.pass_samples <= pool_paths, "{places} places of {done:?}");
            done.add(places, order_count);
            states.push(done);
        }
        states
    }

    #[test]
    fn every_sample_is_worked_on_once_and_whole_pictures_come_early() {
        for (order_count, samples, pool) in [(64, 1, 64), (64, 300, 1 << 16), (6400, 50, 337), (1 << 18, 100, 1 << 16)]
        {
            let states = states(order_count, samples, pool, || pool);
            assert!(states.is_sorted_by_key(|done| done.items(order_count)));
            assert_eq!(states.last().unwrap().items(order_count), u64::from(order_count) * u64::from(samples));
            assert!(states.iter().all(|done| done.is_sound(order_count, samples, pool)), "{order_count} × {samples}");
            let whole: Vec<u32> =
                states.iter().filter(|done| done.pass_samples == 0).map(|done| done.samples).collect();
            assert!(whole.windows(2).all(|pair| pair[1] <= 2 * pair[0].max(1)), "{whole:?}");
        }
    }

    #[test]
    fn a_pool_that_shrinks_within_a_pass_still_fits() {
        let mut paths = [1 << 16, 1 << 16, 1 << 15, 1 << 13, 1024, 1024, 1 << 14].into_iter().cycle();
        let states = states(1 << 16, 40, 1 << 16, || paths.next().unwrap());
        assert!(states.iter().all(|done| done.is_sound(1 << 16, 40, 1 << 16)));
    }

    #[test]
    fn states_that_no_render_can_be_in_are_unsound() {
        let sound = Done { samples: 4, pass_samples: 4, pass_places: 128 };
        assert!(sound.is_sound(256, 8, 4096));
        for (done, samples, pool) in [
            (sound, 7, 4096),
            (sound, 8, 128),
            (Done { pass_places: 256, ..sound }, 8, 4096),
            (Done { pass_places: 100, ..sound }, 8, 4096),
            (Done { pass_places: 0, ..sound }, 8, 4096),
            (Done { pass_samples: 0, ..sound }, 8, 4096),
            (Done { samples: u32::MAX, ..sound }, 8, 4096),
        ] {
            assert!(!done.is_sound(256, samples, pool), "{done:?} with {samples} samples and {pool} paths");
        }
    }
}
