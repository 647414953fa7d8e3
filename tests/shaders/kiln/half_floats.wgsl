enable f16;
// Half floats in arithmetic and in vectors: a sum that 11 bits cannot hold, left, and 24 bits can, right.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
struct Frame { time: f32 }
@group(0) @binding(1) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let big = 4096.0 + frame.time * 0.0;
    let half = vec2<f16>(f16(big)) + vec2<f16>(1.0h, 3.0h);
    let full = vec2f(big) + vec2f(1.0, 3.0);
    let value = select(full, vec2f(half), id.x < size.x / 2u) - 4096.0;
    textureStore(output, id.xy, vec4f(value / 4.0, 0.2, 1.0));
}
