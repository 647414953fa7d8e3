// std/float looks at bits. Columns: 0, the smallest subnormal, the smallest normal, 1, the largest, infinity, -infinity, not a number;
// rows from above: isinf, isnan, isnormal, isfinite. The values come from a buffer, so that no compiler knows them.
#include <float>
#storage values array<u32, 8>

#dispatch_once fill
#workgroup_count fill 1 1 1
@compute @workgroup_size(1)
fn fill(@builtin(global_invocation_id) id: uint3) {
    values = array<u32, 8>(0u, 1u, bitcast<u32>(f32(FLT_MIN)), bitcast<u32>(1.0f), bitcast<u32>(f32(FLT_MAX)),
                           0x7f800000u, 0xff800000u, 0x7fc00001u);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let bits = values[id.x * 8u / SCREEN_WIDTH];
    let x = bitcast<f32>(bits);
    var found = false;
    switch id.y * 4u / SCREEN_HEIGHT {
        case 0u: { found = isinf(x); }
        case 1u: { found = isnan(x); }
        case 2u: { found = isnormal(x); }
        default: { found = isfinite(x); }
    }
    textureStore(screen, int2(id.xy), float4(float3(select(0.0, 1.0, found)), 1.0));
}
