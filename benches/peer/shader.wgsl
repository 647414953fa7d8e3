// The shader that both services run: the picture that every new shader starts from, one pass over 256 × 256 pixels. The seed is its time,
// so that every job has a picture of its own.
struct Frame { index: u32, time: f32, resolution: vec2u, seed: u32 }
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(1) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    let uv = (vec2f(id.xy) + 0.5) / vec2f(frame.resolution);
    let time = f32(frame.seed % 6283u) * 0.001;
    let color = 0.5 + 0.5 * cos(time + uv.xyx + vec3f(0.0, 2.0, 4.0));
    textureStore(output, id.xy, vec4f(color, 1.0));
}
