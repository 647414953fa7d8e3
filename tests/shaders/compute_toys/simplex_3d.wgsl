// nikat/noise_simplex_3d with the clock as the third axis: contour lines of a field that changes.
#include "Dave_Hoskins/hash"
#include "nikat/noise_simplex_3d"

fn noise_simplex_3d_hash(p: float3) -> float3 {
    return hash33(p + 100.0);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = float3(float2(id.xy) / 28.0, time.elapsed);
    let value = noise_simplex_3d(p) + 0.5 * noise_simplex_3d(p * 2.0 + 9.0);
    let contour = smoothstep(0.1, 0.3, abs(fract(value * 4.0) - 0.5));
    let color = mix(float3(0.2, 0.5, 0.2), float3(0.8, 0.6, 0.3), clamp(value + 0.5, 0.0, 1.0));
    textureStore(screen, int2(id.xy), float4(color * contour, 1.0));
}
