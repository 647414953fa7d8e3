// The smallest picture: the two axes as red and green, the clock as blue.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    let size = textureDimensions(screen);
    if (id.x >= size.x || id.y >= size.y) { return; }
    let uv = (float2(id.xy) + 0.5) / float2(size);
    let pulse = 0.5 + 0.5 * cos(time.elapsed + float3(uv.x, uv.y, uv.x) + float3(0.0, 2.0, 4.0));
    textureStore(screen, int2(id.xy), float4(pulse * float3(uv, 1.0), 1.0));
}
