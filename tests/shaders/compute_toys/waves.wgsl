// The wave equation in one pass layer: x is the height now, y the height before. Two drops cross a wall with a gap.

fn wall(p: int2) -> bool {
    return p.x == 60 && abs(p.y - 32) > 5;
}

fn height(p: int2) -> float {
    let inside = clamp(p, int2(0), int2(SCREEN_WIDTH - 1, SCREEN_HEIGHT - 1));
    return select(passLoad(1, inside, 0).x, 0.0, wall(p));
}

#dispatch_count propagate 2
@compute @workgroup_size(16, 16)
fn propagate(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = int2(id.xy);
    let now = passLoad(1, p, 0).xy;
    let around = height(p + int2(1, 0)) + height(p - int2(1, 0)) + height(p + int2(0, 1)) + height(p - int2(0, 1));
    var next = 2.0 * now.x - now.y + 0.25 * (around - 4.0 * now.x);
    if (time.frame == 0u && dispatch.id == 0u) {
        let drop = float2(p) - float2(30.0, 30.0);
        next = exp(-dot(drop, drop) / 12.0);
    }
    passStore(1, p, float4(next * 0.999, now.x, 0.0, 0.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let h = height(int2(id.xy)) * 3.0;
    let color = select(float3(max(h, 0.0), 0.1, max(-h, 0.0)), float3(0.5), wall(int2(id.xy)));
    textureStore(screen, int2(id.xy), float4(color, 1.0));
}
