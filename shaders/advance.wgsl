// Between two bounces: what was appended becomes what is read, and the next dispatches learn their size. One invocation.

import package::lib::bindings::counters;
import package::lib::queues::QUEUE_BINS;

/// 64-bit sum, low word first.
fn add_64(total: vec2u, more: u32) -> vec2u {
    let low = total.x + more;
    return vec2u(low, total.y + select(0u, 1u, low < more));
}

@compute @workgroup_size(1)
fn advance() {
    var next = 0u;
    var shadow_next = 0u;
    for (var bin = 0u; bin < QUEUE_BINS; bin += 1u) {
        let count = atomicExchange(&counters.next_counts[bin], 0u);
        counters.active_counts[bin] = count;
        next += count;
        let shadow_count = atomicExchange(&counters.shadow_next_counts[bin], 0u);
        counters.shadow_counts[bin] = shadow_count;
        shadow_next += shadow_count;
    }
    // `generate` leaves bounce at NONE, so that the camera rays come out as bounce 0.
    let bounce = counters.bounce + 1u;
    counters.bounce = bounce;
    counters.active_count = next;
    counters.shadow_count = shadow_next;
    if bounce == 0u {
        counters.rays_primary = add_64(counters.rays_primary, next);
    } else {
        counters.rays_bounced = add_64(counters.rays_bounced, next);
    }
    counters.rays_shadow = add_64(counters.rays_shadow, shadow_next);
    counters.active_workgroups = vec3u((next + 63u) / 64u, 1u, 1u);
    counters.shadow_workgroups = vec3u((shadow_next + 63u) / 64u, 1u, 1u);
}
