// Starts the paths of a batch: one invocation a slot.

import package::lib::bindings::{params, path_rays, path_states, next_queue, counters};
import package::lib::camera::camera_ray;
import package::lib::features::{WORKGROUP_APPEND, LENS};
import package::lib::pixels::{slot_pixel, slot_sample, inside};
import package::lib::sampler::{sampler_new, sampler_2d, DIMENSION_PIXEL_FILTER, DIMENSION_LENS};
import package::lib::types::{PathRay, PathState};

var<workgroup> group_count: atomic<u32>;
var<workgroup> group_first: u32;

@compute @workgroup_size(64)
fn generate(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
    let slot = id.x;
    let pixel = slot_pixel(slot);
    let live = slot < params.slot_count && inside(pixel);
    if slot < params.slot_count {
        var sampler = sampler_new(pixel.y * params.size.x + pixel.x, slot_sample(slot), params.seed, DIMENSION_PIXEL_FILTER);
        let u_filter = sampler_2d(&sampler);
        var u_lens = vec2f(0.5);
        if LENS {
            sampler.dimension = DIMENSION_LENS;
            u_lens = sampler_2d(&sampler);
        }
        let ray = camera_ray(params.camera, params.size, pixel, u_filter, u_lens, LENS);
        path_rays[slot] = PathRay(ray.origin, 0.0, ray.direction, 0u);
        path_states[slot] = PathState(vec3f(1.0), 0u, vec3f(0.0), 0.0);
    }

    // Camera rays are coherent as they are: all go to the first bin.
    if WORKGROUP_APPEND {
        if local == 0u {
            atomicStore(&group_count, 0u);
        }
        workgroupBarrier();
        var place = 0u;
        if live {
            place = atomicAdd(&group_count, 1u);
        }
        workgroupBarrier();
        if local == 0u {
            group_first = atomicAdd(&counters.next_counts[0], atomicLoad(&group_count));
        }
        workgroupBarrier();
        if live {
            next_queue[group_first + place] = slot;
        }
    } else if live {
        next_queue[atomicAdd(&counters.next_counts[0], 1u)] = slot;
    }
}
