// An output of 32-bit floats, which `previous` hands on unrounded: a sum of 2²⁰ and small steps that half floats would lose. As bits.
@group(0) @binding(0) var output: texture_storage_2d<rgba32float, write>;
@group(0) @binding(1) var previous: texture_2d<f32>;
struct Frame { index: u32 }
@group(0) @binding(2) var<uniform> frame: Frame;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    var sum = textureLoad(previous, id.xy, 0).w;
    sum = select(sum + 1.0, 1048576.0, frame.index == 0u);
    let bit = (u32(sum) >> (id.x * 24u / size.x)) & 1u;
    textureStore(output, id.xy, vec4f(vec3f(f32(bit)), sum));
}
