// Jump flooding: the nearest of five seeds for every pixel, in seven dispatches of halving steps. It needs each dispatch to see what the
// last one stored, and `dispatch.id` to know its step.
#dispatch_count flood 7

fn seed(i: int) -> int2 {
    return int2((i * 37 + 11) % SCREEN_WIDTH, (i * 23 + 7) % SCREEN_HEIGHT);
}

@compute @workgroup_size(16, 16)
fn plant(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var own = float4(-1.0);
    for (var i = 0; i < 5; i++) {
        if (all(int2(id.xy) == seed(i))) { own = float4(float2(id.xy), float(i), 0.0); }
    }
    passStore(0, int2(id.xy), own);
}

@compute @workgroup_size(16, 16)
fn flood(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    let stride = 64 >> dispatch.id;
    var best = passLoad(0, at, 0);
    for (var i = 0; i < 9; i++) {
        let other = at + stride * int2(i % 3 - 1, i / 3 - 1);
        if (any(other < int2(0)) || other.x >= SCREEN_WIDTH || other.y >= SCREEN_HEIGHT) { continue; }
        let candidate = passLoad(0, other, 0);
        let better = best.z < 0.0 || distance(candidate.xy, float2(at)) < distance(best.xy, float2(at));
        if (candidate.z >= 0.0 && better) { best = candidate; }
    }
    passStore(0, at, best);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let found = passLoad(0, int2(id.xy), 0);
    let rings = 0.7 + 0.3 * cos(distance(found.xy, float2(id.xy)) * 0.8);
    let color = (0.5 + 0.5 * cos(found.z * 1.3 + float3(0.0, 2.0, 4.0))) * rings;
    textureStore(screen, int2(id.xy), float4(color, 1.0));
}
