// The job says how many workgroups: 5 × 3 tiles of 16 × 16, drawn in two dispatches by one entry point that does not know; the rest is
// painted first.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<storage, read_write> visits: array<atomic<u32>, 64>;

@compute @workgroup_size(8, 8)
fn ground(@builtin(global_invocation_id) id: vec3u) {
    textureStore(output, id.xy, vec4f(0.02, 0.03, 0.1, 1.0));
}

@compute @workgroup_size(16, 16)
fn tiles(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u, @builtin(local_invocation_index) index: u32) {
    let tile = group.x + groups.x * group.y;
    if index == 0u { atomicAdd(&visits[tile], 1u); }
    workgroupBarrier();
    storageBarrier();
    let edge = any(local.xy == vec2u(0u)) || any(local.xy == vec2u(15u));
    let fill = vec3f(vec2f(group.xy + 1u) / vec2f(groups.xy), 0.3);
    textureStore(output, group.xy * 16u + local.xy, vec4f(select(fill, vec3f(1.0), edge), 1.0));
}

@compute @workgroup_size(16)
fn marks(@builtin(global_invocation_id) id: vec3u) {
    // A white dot in a tile for each of its two visits.
    let tile = id.x % 15u;
    if id.x < 30u && atomicLoad(&visits[tile]) > id.x / 15u {
        let at = vec2u(tile % 5u, tile / 5u) * 16u + vec2u(4u + 6u * (id.x / 15u), 8u);
        textureStore(output, at, vec4f(1.0));
        textureStore(output, at + vec2u(1u, 0u), vec4f(1.0));
    }
}
