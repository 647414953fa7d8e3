// passSampleLevelBilinearRepeat wraps: a pattern written once is shown three times, shifted by half its width.

@compute @workgroup_size(16, 16)
fn fill(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let uv = (float2(id.xy) + 0.5) / float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    let ring = smoothstep(0.06, 0.02, abs(distance(uv, float2(0.5)) - 0.35));
    passStore(3, int2(id.xy), float4(ring, uv.x, uv.y, 1.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let uv = (float2(id.xy) + 0.5) / float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    textureStore(screen, int2(id.xy), passSampleLevelBilinearRepeat(3, uv * 3.0 - 0.5, 0.0));
}
