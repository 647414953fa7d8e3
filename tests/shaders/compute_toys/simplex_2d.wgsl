// Four octaves of iq/noise_simplex_2d over a lattice of Dave_Hoskins/hash: clouds that drift with the clock.
#include "Dave_Hoskins/hash"
#include "iq/noise_simplex_2d"

fn noise_simplex_2d_hash(p: float2) -> float2 {
    return hash22(p);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var p = float2(id.xy) / 40.0 + time.elapsed * float2(0.5, 0.2) + 5.0;
    var sum = 0.0;
    var weight = 0.5;
    for (var octave = 0; octave < 4; octave++) {
        sum += weight * noise_simplex_2d(p);
        p = float2(1.6 * p.x + 1.2 * p.y, 1.6 * p.y - 1.2 * p.x) + 20.0;
        weight *= 0.5;
    }
    let cover = smoothstep(-0.3, 0.6, sum);
    textureStore(screen, int2(id.xy), float4(mix(float3(0.1, 0.25, 0.6), float3(0.95), cover), 1.0));
}
