// The shader that both services run: one pass over 256 × 256 pixels, another picture for every seed.
struct Frame { index: u32, time: f32, resolution: vec2u, seed: u32 }
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(1) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    let p = (vec2f(id.xy) + 0.5) / vec2f(frame.resolution) * 6.0;
    let shift = f32(frame.seed % 1000u) * 0.01;
    let waves = sin(p.x + shift) + sin(p.y * 1.3 - shift) + sin(length(p - 3.0) * 2.0 + shift);
    let color = 0.5 + 0.5 * cos(waves + vec3f(0.0, 2.1, 4.2));
    textureStore(output, id.xy, vec4f(color, 1.0));
}
