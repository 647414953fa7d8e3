// Four layers, each of its own: a quarter of the picture for each.

@compute @workgroup_size(16, 16)
fn fill(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    let p = float2(id.xy) / 12.0;
    passStore(0, at, float4(0.5 + 0.5 * sin(p.x), 0.0, 0.0, 1.0));
    passStore(1, at, float4(0.0, 0.5 + 0.5 * sin(p.y), 0.0, 1.0));
    passStore(2, at, float4(0.0, 0.0, 0.5 + 0.5 * sin(p.x + p.y), 1.0));
    passStore(3, at, float4(float3(0.5 + 0.5 * sin(p.x - p.y)), 1.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let layer = int(id.x * 2u / SCREEN_WIDTH + 2u * (id.y * 2u / SCREEN_HEIGHT));
    textureStore(screen, int2(id.xy), passLoad(layer, int2(id.xy), 0));
}
