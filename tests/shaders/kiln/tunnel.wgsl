// `previous` through a sampler: every frame shows the last one, smaller and turned, inside a border.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var previous: texture_2d<f32>;
@group(0) @binding(2) var bilinear: sampler;
struct Frame { index: u32 }
@group(0) @binding(3) var<uniform> frame: Frame;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let uv = (vec2f(id.xy) + 0.5) / vec2f(size);
    let p = uv * 2.0 - 1.0;
    let inner = vec2f(p.x * 0.985 - p.y * 0.174, p.x * 0.174 + p.y * 0.985) * 1.25;
    let border = 0.5 + 0.5 * cos(f32(frame.index) * 0.9 + vec3f(0.0, 2.0, 4.0));
    let last = textureSampleLevel(previous, bilinear, inner * 0.5 + 0.5, 0.0).rgb;
    let color = select(border, last * 0.97, all(abs(inner) < vec2f(0.98)));
    textureStore(output, id.xy, vec4f(color, 1.0));
}
