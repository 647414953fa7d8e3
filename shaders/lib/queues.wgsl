// Queues of slots, in eight bins by the octant of the ray's direction: invocations that run together then walk the trees in the same
// order. A bin has room for every slot, so an append is one count in its bin. The order within a bin never changes a picture.
//
// Idea: Garanzha & Loop 2010, "Fast Ray Sorting and Breadth-First Packet Traversal for GPU Ray Tracing"; the hash here is the octant alone.

import package::lib::bindings::{params, counters};

/// Bins of a queue; the length of the counters' arrays.
const QUEUE_BINS: u32 = 8u;

/// The bin of a ray.
fn ray_bin(direction: vec3f) -> u32 {
    return select(0u, 1u, direction.x < 0.0) | select(0u, 2u, direction.y < 0.0) | select(0u, 4u, direction.z < 0.0);
}

/// Where the entry is that `count` gave out in a bin.
fn binned_place(bin: u32, count: u32) -> u32 {
    return bin * params.slot_count + count;
}

/// Where entry `index` of the queue of live paths is; `index` is below their number.
fn active_place(index: u32) -> u32 {
    var bin = 0u;
    var rest = index;
    loop {
        let count = counters.active_counts[bin];
        if rest < count || bin + 1u >= QUEUE_BINS {
            break;
        }
        rest -= count;
        bin += 1u;
    }
    return binned_place(bin, rest);
}

/// Where entry `index` of the queue of shadow rays is; `index` is below their number.
fn shadow_place(index: u32) -> u32 {
    var bin = 0u;
    var rest = index;
    loop {
        let count = counters.shadow_counts[bin];
        if rest < count || bin + 1u >= QUEUE_BINS {
            break;
        }
        rest -= count;
        bin += 1u;
    }
    return binned_place(bin, rest);
}
