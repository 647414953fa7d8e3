// Traces each live path's ray to the nearest surface.

import package::lib::bindings::{path_rays, path_hits, active_queue, counters};
import package::lib::features::ALPHA;
import package::lib::queues::active_place;
import package::lib::seeds::ray_seed;
import package::lib::traverse::traverse;
import package::lib::types::T_INFINITE;

@compute @workgroup_size(64)
fn extend(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= counters.active_count {
        return;
    }
    let slot = active_queue[active_place(id.x)];
    let origin = path_rays[slot].origin;
    let direction = path_rays[slot].direction;
    var seed = 0u;
    if ALPHA {
        seed = ray_seed(slot, counters.bounce, false);
    }
    path_hits[slot] = traverse(origin, direction, T_INFINITE, seed, false);
}
