// `#dispatch_once` runs in frame 0 only, also where the picture is of a later frame; what it planted grows in every frame.
#storage garden array<u32, 2>
#dispatch_once plant

#workgroup_count plant 1 1 1
@compute @workgroup_size(1)
fn plant(@builtin(global_invocation_id) id: uint3) {
    garden[0] += 1u;
    garden[1] = 3u;
}

#workgroup_count grow 1 1 1
@compute @workgroup_size(1)
fn grow(@builtin(global_invocation_id) id: uint3) {
    garden[1] *= 2u;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = garden[id.y * 2u / SCREEN_HEIGHT];
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
