// Frame N means that the frames 0 to N - 1 ran before. Row by row, as sixteen bits, the lowest on the left: how often `count` ran,
// `time.frame`, and the same two added up over all frames by a storage buffer that was never cleared.
#storage totals array<atomic<u32>, 3>

@compute @workgroup_size(1)
#workgroup_count count 1 1 1
fn count(@builtin(global_invocation_id) id: uint3) {
    atomicAdd(&totals[0], 1u);
    atomicAdd(&totals[1], time.frame);
    atomicStore(&totals[2], time.frame);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let row = min(id.y * 3u / SCREEN_HEIGHT, 2u);
    let bit = id.x * 16u / SCREEN_WIDTH;
    let lit = float((atomicLoad(&totals[row]) >> bit) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
