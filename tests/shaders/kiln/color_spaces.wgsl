// The same picture twice: decoded from sRGB above, taken as numbers below, which is lighter once the output's curve is applied.
@group(0) @binding(0) var channel0: texture_2d<f32>;
@group(0) @binding(1) var channel1: texture_2d<f32>;
@group(0) @binding(2) var nearest: sampler;
@group(0) @binding(3) var output: texture_storage_2d<rgba16float, write>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let uv = (vec2f(id.xy) + 0.5) / vec2f(size);
    var color = textureSampleLevel(channel0, nearest, uv, 0.0).rgb;
    if uv.y > 0.5 { color = textureSampleLevel(channel1, nearest, uv, 0.0).rgb; }
    textureStore(output, id.xy, vec4f(color, 1.0));
}
