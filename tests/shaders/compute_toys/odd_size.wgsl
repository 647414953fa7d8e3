// A picture of 61 × 37 pixels, which no workgroup divides: concentric rings up to the last pixel of every edge.

@compute @workgroup_size(16, 8)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let center = float2(float(SCREEN_WIDTH - 1), float(SCREEN_HEIGHT - 1)) * 0.5;
    let rings = 0.5 + 0.5 * cos(distance(float2(id.xy), center));
    let corner = (id.x == 0u || id.x == SCREEN_WIDTH - 1) && (id.y == 0u || id.y == SCREEN_HEIGHT - 1);
    textureStore(screen, int2(id.xy), select(float4(rings, 0.3, 1.0 - rings, 1.0), float4(1.0), corner));
}
