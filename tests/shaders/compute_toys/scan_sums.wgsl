// Prefix sums by the include davidar/scan: the running sum of 1, 2, 3, … in every row is a parabola.
#define SCAN_TYPE u32
#define SCAN_WORKGROUP_SIZE 128
#include "davidar/scan"

#workgroup_count main_image 1 SCREEN_HEIGHT 1
@compute @workgroup_size(128)
fn main_image(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) row: uint3) {
    let sum = scan_pass(i, i + 1u);
    let expected = (i + 1u) * (i + 2u) / 2u;
    if (i >= SCREEN_WIDTH) { return; }
    let height = float(SCREEN_HEIGHT - row.y) / float(SCREEN_HEIGHT);
    let below = height <= float(sum) / float(SCREEN_WIDTH * (SCREEN_WIDTH + 1) / 2);
    let color = select(float3(1.0, 0.0, 0.0), select(float3(0.0, 0.0, 0.1), float3(0.2, 0.9, 0.5), below), sum == expected);
    textureStore(screen, int2(int(i), int(row.y)), float4(color, 1.0));
}
