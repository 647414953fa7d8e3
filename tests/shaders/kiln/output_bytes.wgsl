// An output of bytes: sixteen exact steps of grey, linear, above; below, numbers outside of [0, 1], which the format clamps.
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    var color = vec3f(f32(id.x * 16u / size.x) * 17.0 / 255.0);
    if id.y >= size.y / 2u {
        color = vec3f(f32(id.x) / f32(size.x) * 3.0 - 1.0) * vec3f(1.0, 0.5, 0.25);
    }
    textureStore(output, id.xy, vec4f(color, 1.0));
}
