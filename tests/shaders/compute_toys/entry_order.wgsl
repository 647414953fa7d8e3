// Entry points run in the order of the text, each in a pass of its own: the frame covers the paper, the disc covers the frame.

@compute @workgroup_size(16, 16)
fn paper(@builtin(global_invocation_id) id: uint3) {
    textureStore(screen, int2(id.xy), float4(0.9, 0.85, 0.7, 1.0));
}

@compute @workgroup_size(16, 16)
fn border(@builtin(global_invocation_id) id: uint3) {
    let edge = min(min(id.x, id.y), min(SCREEN_WIDTH - 1u - id.x, SCREEN_HEIGHT - 1u - id.y));
    if (id.x < SCREEN_WIDTH && id.y < SCREEN_HEIGHT && edge < 6u) {
        textureStore(screen, int2(id.xy), float4(0.1, 0.2, 0.5, 1.0));
    }
}

@compute @workgroup_size(8, 8, 1)
fn disc(@builtin(global_invocation_id) id: uint3) {
    let center = float2(f32(SCREEN_WIDTH), f32(SCREEN_HEIGHT)) * 0.5;
    if (distance(float2(id.xy) + 0.5, center) < 30.25) {
        textureStore(screen, int2(id.xy), float4(0.7, 0.1, 0.1, 1.0));
    }
}
