// Heat flows from a hot bar to cold walls, in two buffers that take turns by the parity of the dispatch; sixteen steps a frame.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<storage, read_write> heat: array<array<vec2f, 96>, 64>;

fn read(p: vec2i, side: u32) -> f32 {
    let q = clamp(p, vec2i(0), vec2i(95, 63));
    if any(q != p) { return 0.0; }
    if all(abs(q - vec2i(48, 32)) <= vec2i(20, 2)) { return 1.0; }
    return heat[q.y][q.x][side];
}

fn step_once(p: vec2i, side: u32) -> f32 {
    let around = read(p + vec2i(1, 0), side) + read(p - vec2i(1, 0), side) + read(p + vec2i(0, 1), side) + read(p - vec2i(0, 1), side);
    return mix(read(p, side), around * 0.25, 0.8);
}

@compute @workgroup_size(16, 16)
fn forth(@builtin(global_invocation_id) id: vec3u) {
    heat[id.y][id.x].y = step_once(vec2i(id.xy), 0u);
}

@compute @workgroup_size(16, 16)
fn back(@builtin(global_invocation_id) id: vec3u) {
    heat[id.y][id.x].x = step_once(vec2i(id.xy), 1u);
}

@compute @workgroup_size(16, 16)
fn show(@builtin(global_invocation_id) id: vec3u) {
    let t = read(vec2i(id.xy), 0u);
    let contour = smoothstep(0.1, 0.2, abs(fract(t * 8.0) - 0.5));
    textureStore(output, id.xy, vec4f(vec3f(t, t * t, 0.1 * (1.0 - t)) * (0.6 + 0.4 * contour), 1.0));
}
