// Three channels in bind groups and numbers of the shader's own: two pictures side by side, the third as a mask between them.
@group(1) @binding(7) var channel0: texture_2d<f32>;
@group(2) @binding(3) var channel1: texture_2d<f32>;
@group(0) @binding(5) var channel2: texture_2d<f32>;
@group(3) @binding(0) var bilinear_repeat: sampler;
@group(1) @binding(0) var output: texture_storage_2d<rgba16float, write>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let uv = (vec2f(id.xy) + 0.5) / vec2f(size);
    let a = textureSampleLevel(channel0, bilinear_repeat, uv * 2.0, 0.0).rgb;
    let b = textureSampleLevel(channel1, bilinear_repeat, uv, 0.0).rgb;
    let mask = textureSampleLevel(channel2, bilinear_repeat, uv, 0.0).r;
    textureStore(output, id.xy, vec4f(mix(a, min(b, vec3f(1.0)), smoothstep(0.2, 0.5, mask)), 1.0));
}
