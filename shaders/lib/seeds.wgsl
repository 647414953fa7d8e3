// Seeds for decisions that a ray makes at every triangle it crosses.

import package::lib::bindings::params;
import package::lib::math::hash_u32;
import package::lib::pixels::{slot_pixel_index, slot_sample};

/// A word for one ray of a path: the one that leaves bounce `bounce`, or with `shadow` the one to that bounce's light. A function of pixel,
/// sample and seed, whatever slot the path has.
fn ray_seed(slot: u32, bounce: u32, shadow: bool) -> u32 {
    let path = hash_u32(slot_pixel_index(slot) ^ hash_u32(slot_sample(slot) ^ hash_u32(params.seed)));
    return hash_u32(path ^ (2u * bounce + select(0u, 1u, shadow)));
}
