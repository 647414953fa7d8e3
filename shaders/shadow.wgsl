// Tests the connections to lights, and adds what arrives to each path's own radiance.

import package::lib::bindings::{path_states, shadow_rays, shadow_queue, counters};
import package::lib::features::ALPHA;
import package::lib::queues::shadow_place;
import package::lib::seeds::ray_seed;
import package::lib::traverse::traverse;
import package::lib::types::NONE;

@compute @workgroup_size(64)
fn shadow(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= counters.shadow_count {
        return;
    }
    let slot = shadow_queue[shadow_place(id.x)];
    let origin = shadow_rays[slot].origin;
    let t_max = shadow_rays[slot].t_max;
    let direction = shadow_rays[slot].direction;
    var seed = 0u;
    if ALPHA {
        // `advance` has counted the bounce already.
        seed = ray_seed(slot, counters.bounce - 1u, true);
    }
    let hit = traverse(origin, direction, t_max, seed, true);
    if hit.instance == NONE {
        path_states[slot].radiance += shadow_rays[slot].contribution;
    }
}
