// The seed decides everything: a field of stars.
struct Frame { seed: u32, resolution: vec2u }
@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var output: texture_storage_2d<rgba16float, write>;

fn hash(x: u32) -> u32 {
    var h = x;
    h ^= h >> 16u;
    h *= 0x7feb352du;
    h ^= h >> 15u;
    h *= 0x846ca68bu;
    return h ^ (h >> 16u);
}

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    var light = vec3f(0.0, 0.0, 0.03);
    for (var i = 0u; i < 48u; i++) {
        let h = hash(frame.seed * 1024u + i);
        let star = vec2f(f32(h & 0xfffu), f32((h >> 12u) & 0xfffu)) / 4096.0 * vec2f(frame.resolution);
        let size = 0.6 + f32(h >> 29u) * 0.3;
        let d = vec2f(id.xy) + 0.5 - star;
        let warmth = f32((h >> 24u) & 15u) / 15.0;
        light += exp(-dot(d, d) / (size * size)) * mix(vec3f(0.5, 0.7, 1.2), vec3f(1.2, 0.8, 0.5), warmth);
    }
    textureStore(output, id.xy, vec4f(light, 1.0));
}
