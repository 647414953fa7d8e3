// A curve of 2048 points, drawn by atomics into a buffer of one element a pixel, then toned by a second pass.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<storage, read_write> hits: array<atomic<u32>>;
struct Frame { time: f32, resolution: vec2u }
@group(0) @binding(2) var<uniform> frame: Frame;
struct Params { x: f32, y: f32 }
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn plot(@builtin(global_invocation_id) id: vec3u) {
    let t = f32(id.x) / 2048.0 * 6.2831853;
    let p = vec2f(sin(params.x * t + frame.time), sin(params.y * t)) * 0.46 + 0.5;
    let at = vec2u(p * vec2f(frame.resolution));
    atomicAdd(&hits[at.y * frame.resolution.x + at.x], 1u);
}

@compute @workgroup_size(16, 16)
fn tone(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.resolution) { return; }
    let n = f32(atomicExchange(&hits[id.y * frame.resolution.x + id.x], 0u));
    let light = 1.0 - exp(-0.25 * n);
    textureStore(output, id.xy, vec4f(light * vec3f(0.4, 1.0, 0.7) + vec3f(0.01, 0.02, 0.04), 1.0));
}
