// A sum over the screen: trees in workgroup memory, then one atomic a workgroup. As bits: the sum of x over all pixels, modulo 65536,
// and the value that workgroupUniformLoad hands to every invocation of the last workgroup.
#storage sums array<atomic<u32>, 2>

var<workgroup> partial: array<u32, 256>;
var<workgroup> chosen: u32;

@compute @workgroup_size(16, 16)
fn reduce(@builtin(global_invocation_id) id: uint3, @builtin(local_invocation_index) i: u32) {
    partial[i] = select(0u, id.x, id.x < SCREEN_WIDTH && id.y < SCREEN_HEIGHT);
    if (i == 100u) { chosen = 345u; }
    for (var stride = 128u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if (i < stride) { partial[i] += partial[i + stride]; }
    }
    let everywhere = workgroupUniformLoad(&chosen);
    if (i == 0u) { atomicAdd(&sums[0], partial[0]); }
    if (i == 255u) { atomicMax(&sums[1], everywhere); }
    storageBarrier();
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = atomicLoad(&sums[id.y * 2u / SCREEN_HEIGHT]);
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
