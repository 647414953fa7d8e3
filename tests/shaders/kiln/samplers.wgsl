// All six samplers by name, on a small picture from -0.5 to 1.5: the upper row clamps, the lower repeats.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var channel0: texture_2d<f32>;
@group(0) @binding(2) var nearest: sampler;
@group(0) @binding(3) var bilinear: sampler;
@group(0) @binding(4) var trilinear: sampler;
@group(0) @binding(5) var nearest_repeat: sampler;
@group(0) @binding(6) var bilinear_repeat: sampler;
@group(0) @binding(7) var trilinear_repeat: sampler;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let tile = id.xy / 32u;
    let uv = (vec2f(id.xy % 32u) + 0.5) / 16.0 - 0.5;
    let level = 0.3 + 0.9 * f32(id.x % 32u / 16u);
    var color = vec4f(0.0);
    switch tile.x + 3u * tile.y {
        case 0u: { color = textureSampleLevel(channel0, nearest, uv, 0.0); }
        case 1u: { color = textureSampleLevel(channel0, bilinear, uv, 0.0); }
        case 2u: { color = textureSampleLevel(channel0, trilinear, uv, level); }
        case 3u: { color = textureSampleLevel(channel0, nearest_repeat, uv, 0.0); }
        case 4u: { color = textureSampleLevel(channel0, bilinear_repeat, uv, 0.0); }
        default: { color = textureSampleLevel(channel0, trilinear_repeat, uv, level); }
    }
    textureStore(output, id.xy, vec4f(color.rgb, 1.0));
}
