// A picture in the upper half, and the histogram of its brightness below: counted by atomics, scaled by their maximum.
#define BINS 48
#storage bins array<atomic<u32>, BINS>
#storage most atomic<u32>
#calcdefine HALF SCREEN_HEIGHT/2

fn brightness(p: uint2) -> float {
    let q = (float2(p) - float2(30.0, 12.0)) / 10.0;
    return clamp(exp(-0.3 * dot(q, q)) + 0.3 * float(p.x) / float(SCREEN_WIDTH), 0.0, 0.999);
}

#workgroup_count clear 1 1 1
@compute @workgroup_size(64)
fn clear(@builtin(global_invocation_id) id: uint3) {
    if (id.x < BINS) { atomicStore(&bins[id.x], 0u); }
    if (id.x == 0u) { atomicStore(&most, 0u); }
}

@compute @workgroup_size(16, 16)
fn count(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= HALF) { return; }
    let bin = uint(brightness(id.xy) * float(BINS));
    atomicMax(&most, atomicAdd(&bins[bin], 1u) + 1u);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var color = float3(brightness(id.xy));
    if (id.y >= HALF) {
        let count = float(atomicLoad(&bins[id.x * BINS / SCREEN_WIDTH])) / float(atomicLoad(&most));
        let height = float(SCREEN_HEIGHT - id.y) / float(HALF);
        color = select(float3(0.02, 0.02, 0.05), float3(1.0, 0.6, 0.1), height <= count);
    }
    textureStore(screen, int2(id.xy), float4(color, 1.0));
}
