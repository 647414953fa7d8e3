// The whole family of Dave_Hoskins/hash, a tile for each of its thirteen members.
#include "Dave_Hoskins/hash"

fn member(which: u32, p: float2) -> float3 {
    let p3 = float3(p, 3.0);
    let p4 = float4(p, 3.0, 7.0);
    let i = p.x + 16.0 * p.y;
    switch which {
        case 0u: { return float3(hash11(i)); }
        case 1u: { return float3(hash12(p)); }
        case 2u: { return float3(hash13(p3)); }
        case 3u: { return float3(hash21(i), 0.0); }
        case 4u: { return float3(hash22(p), 0.0); }
        case 5u: { return float3(hash23(p3), 0.0); }
        case 6u: { return hash31(i); }
        case 7u: { return hash32(p); }
        case 8u: { return hash33(p3); }
        case 9u: { return hash41(i).xyz; }
        case 10u: { return hash42(p).yzw; }
        case 11u: { return hash43(p3).xzw; }
        case 12u: { return hash44(p4).xyw; }
        default: { return float3(0.0); }
    }
}

@compute @workgroup_size(8, 8)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let tile = id.xy / 16u;
    let color = member(tile.x + 6u * tile.y, float2(id.xy % 16u / 2u));
    textureStore(screen, int2(id.xy), float4(color, 1.0));
}
