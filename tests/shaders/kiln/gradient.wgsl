// The smallest picture: `output` alone. Linear numbers in half floats.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let uv = (vec2f(id.xy) + 0.5) / vec2f(size);
    textureStore(output, id.xy, vec4f(uv, 1.0 - uv.x * uv.y, 1.0));
}
