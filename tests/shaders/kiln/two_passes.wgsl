// Two entry points in the order of the text: the first fills a height field with one element a pixel, the second lights its slopes.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<storage, read_write> heights: array<f32>;
struct Frame { time: f32, resolution: vec2u }
@group(0) @binding(2) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn raise(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    let p = vec2f(id.xy) * 0.15;
    heights[id.y * frame.resolution.x + id.x] = sin(p.x + frame.time) * cos(p.y) + 0.5 * sin(2.0 * p.x - p.y);
}

fn height(p: vec2i) -> f32 {
    let q = vec2u(clamp(p, vec2i(0), vec2i(frame.resolution) - 1));
    return heights[q.y * frame.resolution.x + q.x];
}

@compute @workgroup_size(8, 8)
fn light(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    let p = vec2i(id.xy);
    let slope = vec2f(height(p + vec2i(1, 0)) - height(p - vec2i(1, 0)), height(p + vec2i(0, 1)) - height(p - vec2i(0, 1)));
    let normal = normalize(vec3f(-3.0 * slope, 1.0));
    let shade = max(dot(normal, normalize(vec3f(0.5, 0.4, 0.8))), 0.0);
    let tint = mix(vec3f(0.1, 0.4, 0.2), vec3f(0.9, 0.85, 0.7), clamp(0.5 + 0.4 * height(p), 0.0, 1.0));
    textureStore(output, id.xy, vec4f(tint * shade, 1.0));
}
