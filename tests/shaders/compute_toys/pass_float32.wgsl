// Pass textures of 32-bit floats count on above 2048. Compare pass_half_precision, the same text without `float32`.

@compute @workgroup_size(16, 16)
fn count(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    let before = passLoad(0, at, 0).x;
    passStore(0, at, float4(select(before + 1.0, 2046.0, time.frame == 0u)));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = uint(passLoad(0, int2(id.xy), 0).x);
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
