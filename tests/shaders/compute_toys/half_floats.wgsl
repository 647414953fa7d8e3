enable f16;
// Sixteen-bit floats: 2048 + 1 is 2048 on the left, and 2049 with 32 bits on the right.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let zero = time.elapsed * 0.0;
    let half = f16(2048.0 + zero) + f16(1.0);
    let full = 2048.0 + zero + 1.0;
    let value = select(full, f32(half), id.x < SCREEN_WIDTH / 2);
    let lit = value - 2048.0;
    textureStore(screen, int2(id.xy), float4(0.8 - 0.6 * lit, 0.2 + 0.6 * lit, 0.3, 1.0));
}
