// Storage buffers start as zeros and keep what was written. Bits, row by row: the frames so far, the sum of their numbers, and how often
// a pass ran that the job asks for once, and one that it asks for three times a frame.
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
struct Ledger { frames: u32, sum: u32, once: u32, thrice: u32 }
@group(0) @binding(1) var<storage, read_write> ledger: Ledger;
struct Frame { index: u32 }
@group(0) @binding(2) var<uniform> frame: Frame;

@compute @workgroup_size(1)
fn count() {
    ledger.frames += 1u;
    ledger.sum += frame.index;
}

@compute @workgroup_size(1)
fn once() {
    ledger.once += 1u;
}

@compute @workgroup_size(1)
fn thrice() {
    ledger.thrice += 1u;
}

@compute @workgroup_size(8, 8)
fn show(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let rows = array<u32, 4>(ledger.frames, ledger.sum, ledger.once, ledger.thrice);
    let lit = (rows[id.y * 4u / size.y] >> (id.x * 16u / size.x)) & 1u;
    textureStore(output, id.xy, vec4f(vec3f(f32(lit)), 1.0));
}
