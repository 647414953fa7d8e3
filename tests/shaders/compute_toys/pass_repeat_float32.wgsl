// With float32 textures the four nearest texels are blended by hand, also over the seam. A picture of four coarse steps is magnified.

@compute @workgroup_size(16, 16)
fn fill(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let step = float((id.x / 2u) % 4u) / 3.0;
    passStore(0, int2(id.xy), float4(step, float(id.y % 2u), 1.0 - step, 1.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let uv = (float2(id.xy) + 0.5) / float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    textureStore(screen, int2(id.xy), passSampleLevelBilinearRepeat(0, uv / 6.0 - 0.05, 0.0));
}
