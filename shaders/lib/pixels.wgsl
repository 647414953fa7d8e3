// Which pixel and which sample a slot of the pool works on.
//
// The work order has a place for every pixel: strips of eight tiles from the top to the bottom, in a strip columns from the left to the right, in
// a column tiles of 8×8 pixels from the top to the bottom. So neighbours in the pool are neighbours in the picture, and a batch is one compact
// part of it. The first pass over the picture scatters the tiles instead, so that a part of it soon shows what there will be.

import package::lib::bindings::params;

/// Tiles in a column of a strip that is whole.
const STRIP_TILES: u32 = 8u;

/// Coordinates of a place in the work order. May lie outside of the picture; see `inside`.
fn place_pixel(place: u32) -> vec2u {
    let tile = place >> 6u;
    let strip = tile / (STRIP_TILES * params.tiles.x);
    let in_strip = tile - strip * STRIP_TILES * params.tiles.x;
    let height = min(STRIP_TILES, params.tiles.y - strip * STRIP_TILES);
    let corner = 8u * vec2u(in_strip / height, strip * STRIP_TILES + in_strip % height);
    // Within a tile in blocks of 4×2: what eight lanes of a software adapter trace together.
    let i = place & 63u;
    return corner + vec2u((i & 3u) | ((i >> 1u) & 4u), ((i >> 2u) & 1u) | ((i >> 3u) & 6u));
}

fn inside(pixel: vec2u) -> bool {
    return all(pixel < params.size);
}

/// The place whose turn it is after `turn` others in this pass.
fn turn_place(turn: u32) -> u32 {
    // The host keeps `tile_stride` below 2³² / film_tiles.
    let tile = (((turn - params.film_first) >> 6u) * params.tile_stride) % params.film_tiles;
    return params.film_first + (tile << 6u) + (turn & 63u);
}

/// Coordinates of a slot's pixel.
fn slot_pixel(slot: u32) -> vec2u {
    return place_pixel(turn_place(params.first_turn + (((slot >> 6u) / params.batch_samples) << 6u) + (slot & 63u)));
}

/// Index of a slot's sample.
fn slot_sample(slot: u32) -> u32 {
    return params.first_sample + (slot >> 6u) % params.batch_samples;
}

/// The slot of the batch's turn `turn` and sample `sample`, both counted from its first.
fn turn_slot(turn: u32, sample: u32) -> u32 {
    return (((turn >> 6u) * params.batch_samples + sample) << 6u) + (turn & 63u);
}

/// Index of a slot's pixel in the picture, row by row: what the sampler goes by.
fn slot_pixel_index(slot: u32) -> u32 {
    let pixel = slot_pixel(slot);
    return pixel.y * params.size.x + pixel.x;
}
