// `previous` is the last frame, zeros at first: every frame shifts it by four pixels and draws one new column of a spectrum.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var previous: texture_2d<f32>;
struct Frame { index: u32 }
@group(0) @binding(2) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    var color = vec4f(0.0);
    if id.x >= 4u {
        color = textureLoad(previous, vec2u(id.x - 4u, id.y), 0);
    } else {
        let phase = f32(frame.index) * 0.4 + f32(id.y) / f32(size.y);
        color = vec4f(0.5 + 0.5 * cos(phase + vec3f(0.0, 2.1, 4.2)), 1.0);
    }
    textureStore(output, id.xy, color);
}
