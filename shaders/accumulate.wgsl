// Adds a finished batch to the film: one invocation a pixel, its samples in order, so that the sum never depends on how the work
// was cut into batches.

import package::lib::bindings::{params, path_states, counters, film};
import package::lib::math::{is_finite, is_finite3};
import package::lib::pixels::{place_pixel, turn_place, turn_slot, inside};

@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= params.slot_count / params.batch_samples {
        return;
    }
    let place = turn_place(params.first_turn + id.x);
    if !inside(place_pixel(place)) {
        return;
    }
    var sum = film[place - params.film_first];
    for (var sample = 0u; sample < params.batch_samples; sample++) {
        let slot = turn_slot(id.x, sample);
        // A sample that is not a number is counted and left out: it is a defect, and the report says so. So is one that takes the sum out of
        // the range of numbers.
        let next = sum + vec4f(path_states[slot].radiance, path_states[slot].alpha);
        if is_finite3(next.xyz) && is_finite(next.w) {
            sum = next;
        } else {
            atomicAdd(&counters.nan_count, 1u);
        }
    }
    film[place - params.film_first] = sum;
}
