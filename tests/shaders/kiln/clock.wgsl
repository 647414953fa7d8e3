// All members of `frame`, in an order of the shader's own. Bits, row by row: index, sixteenths of a second, those of the last frame,
// the two sides of the picture, the seed.
struct Frame {
    seed: u32,
    resolution: vec2u,
    delta: f32,
    index: u32,
    time: f32,
}
@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var output: texture_storage_2d<rgba8unorm, write>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= frame.resolution.x || id.y >= frame.resolution.y { return; }
    let rows = array<u32, 6>(
        frame.index, u32(round(frame.time * 16.0)), u32(round(frame.delta * 16.0)), frame.resolution.x, frame.resolution.y, frame.seed,
    );
    let value = rows[id.y * 6u / frame.resolution.y];
    let lit = (value >> (id.x * 16u / frame.resolution.x)) & 1u;
    textureStore(output, id.xy, vec4f(vec3f(f32(lit)), 1.0));
}
