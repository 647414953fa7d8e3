// An abelian sandpile: cells of four grains and more give one to each neighbour. Two buffers take turns, by the parity of the dispatch.
#storage even array<u32, SCREEN_WIDTH*SCREEN_HEIGHT>
#storage odd array<u32, SCREEN_WIDTH*SCREEN_HEIGHT>
#dispatch_count topple 128

fn grains(p: int2, from_even: bool) -> u32 {
    if (p.x < 0 || p.y < 0 || p.x >= SCREEN_WIDTH || p.y >= SCREEN_HEIGHT) { return 0u; }
    let i = p.y * SCREEN_WIDTH + p.x;
    if (from_even) { return even[i]; }
    return odd[i];
}

@compute @workgroup_size(16, 16)
fn topple(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = int2(id.xy);
    let from_even = dispatch.id % 2u == 0u;
    var next = grains(p, from_even) % 4u;
    next += grains(p + int2(1, 0), from_even) / 4u + grains(p - int2(1, 0), from_even) / 4u;
    next += grains(p + int2(0, 1), from_even) / 4u + grains(p - int2(0, 1), from_even) / 4u;
    if (dispatch.id == 0u && all(p == int2(48, 32))) { next += 500u; }
    if (from_even) { odd[p.y * SCREEN_WIDTH + p.x] = next; } else { even[p.y * SCREEN_WIDTH + p.x] = next; }
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let n = grains(int2(id.xy), true);
    let palette = array<float3, 4>(float3(0.02, 0.02, 0.1), float3(0.1, 0.3, 0.6), float3(0.9, 0.7, 0.2), float3(0.8, 0.15, 0.1));
    textureStore(screen, int2(id.xy), float4(select(palette[n % 4u], float3(1.0), n >= 4u), 1.0));
}
