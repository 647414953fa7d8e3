// A workgroup size is read from literal digits only. SIDE is a constant, so that it counts as 1, and the count that covers the screen is
// one workgroup for every pixel, although each has four invocations: as bits, the number of workgroups along x.
const SIDE = 4;
#storage seen array<atomic<u32>, 1>

@compute @workgroup_size(SIDE, 1)
fn column(@builtin(workgroup_id) group: uint3, @builtin(local_invocation_index) index: u32) {
    if (index == 0u) { atomicMax(&seen[0], group.x + 1u); }
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let lit = float((atomicLoad(&seen[0]) >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
