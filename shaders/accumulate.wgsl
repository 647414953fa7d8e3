// Adds a finished batch to the film: one invocation a pixel, its samples in order, so that the sum never depends on how the work
// was cut into batches.

import package::lib::bindings::{params, path_states, counters, film};
import package::lib::math::{is_finite, is_finite3};
import package::lib::pixels::{order_pixel, inside};

@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= min(params.slot_count, params.order_count) {
        return;
    }
    let order = (params.first_order + id.x) % params.order_count;
    if !inside(order_pixel(order)) {
        return;
    }
    var sum = film[order - params.film_first];
    var slot = id.x;
    loop {
        // A sample that is not a number is counted and left out: it is a defect, and the report says so. So is one that takes the sum out of
        // the range of numbers.
        let next = sum + vec4f(path_states[slot].radiance, path_states[slot].alpha);
        if is_finite3(next.xyz) && is_finite(next.w) {
            sum = next;
        } else {
            atomicAdd(&counters.nan_count, 1u);
        }
        slot += params.order_count;
        if slot >= params.slot_count {
            break;
        }
    }
    film[order - params.film_first] = sum;
}
