// Which pixel and which sample a slot of the pool works on.
//
// The work order visits the picture in tiles of 8×8 pixels, so that neighbours in the pool are neighbours in the picture, and
// the tiles in an order that scatters them, so that each part of a batch has a fair share of cheap and of dear pixels. (Software adapters
// give each of their threads one contiguous run of workgroups.)

import package::lib::bindings::params;

/// Coordinates of a place in the work order. May lie outside of the picture; see `inside`.
fn order_pixel(order: u32) -> vec2u {
    let tile_count = params.tiles.x * params.tiles.y;
    // The host keeps `tile_stride` below 2³² / tile_count.
    let tile = ((order >> 6u) * params.tile_stride) % tile_count;
    let corner = 8u * vec2u(tile % params.tiles.x, tile / params.tiles.x);
    // Within a tile in blocks of 4×2: what eight lanes of a software adapter trace together.
    let i = order & 63u;
    return corner + vec2u((i & 3u) | ((i >> 1u) & 4u), ((i >> 2u) & 1u) | ((i >> 3u) & 6u));
}

fn inside(pixel: vec2u) -> bool {
    return all(pixel < params.size);
}

/// Coordinates of a slot's pixel.
fn slot_pixel(slot: u32) -> vec2u {
    return order_pixel((params.first_order + slot) % params.order_count);
}

/// Index of a slot's sample.
fn slot_sample(slot: u32) -> u32 {
    return params.first_sample + (params.first_order + slot) / params.order_count;
}

/// Index of a slot's pixel in the picture, row by row: what the sampler goes by.
fn slot_pixel_index(slot: u32) -> u32 {
    let pixel = slot_pixel(slot);
    return pixel.y * params.size.x + pixel.x;
}
