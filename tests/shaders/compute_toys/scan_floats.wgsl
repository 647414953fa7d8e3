// The same include over vectors: SCAN_TYPE is a macro. A random walk in two dimensions, summed up by one workgroup and drawn by atomics.
#define SCAN_TYPE int2
#define SCAN_WORKGROUP_SIZE 256
#include "davidar/scan"
#storage visits array<atomic<u32>, SCREEN_WIDTH*SCREEN_HEIGHT>

fn direction(i: u32) -> int2 {
    var h = i * 0x9e3779b1u;
    h ^= h >> 13u;
    h *= 0x85ebca6bu;
    let turn = (h >> 20u) & 3u;
    return int2(int(turn == 0u) - int(turn == 1u), int(turn == 2u) - int(turn == 3u)) * 2;
}

#workgroup_count walk 1 1 1
@compute @workgroup_size(256)
fn walk(@builtin(local_invocation_index) i: u32) {
    let at = clamp(scan_pass(i, direction(i)) + int2(48, 32), int2(0), int2(SCREEN_WIDTH - 2, SCREEN_HEIGHT - 2));
    atomicMax(&visits[at.y * SCREEN_WIDTH + at.x], i + 1u);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let even = id.xy & uint2(0xfffffffeu);
    let age = float(atomicLoad(&visits[even.y * SCREEN_WIDTH + even.x])) / 256.0;
    textureStore(screen, int2(id.xy), float4(age, age * age, select(0.05, 0.4, age > 0.0), 1.0));
}
