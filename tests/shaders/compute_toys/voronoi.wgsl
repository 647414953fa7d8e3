// Cells around points that move on circles; the edges are where two points are about as near.
#include "Dave_Hoskins/hash"

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = float2(id.xy) / 14.0;
    var nearest_two = float2(9.0);
    var tint = float2(0.0);
    for (var i = -1; i <= 1; i++) {
        for (var j = -1; j <= 1; j++) {
            let cell = floor(p) + float2(float(i), float(j));
            let random = hash22(cell + 50.0);
            let turn = time.elapsed + 6.2831853 * random.x;
            let d = distance(p, cell + 0.5 + 0.35 * float2(cos(turn), sin(turn)));
            if (d < nearest_two.x) {
                nearest_two = float2(d, nearest_two.x);
                tint = random;
            } else {
                nearest_two.y = min(nearest_two.y, d);
            }
        }
    }
    let edge = smoothstep(0.02, 0.12, nearest_two.y - nearest_two.x);
    textureStore(screen, int2(id.xy), float4(float3(tint, 0.6) * edge * (1.2 - nearest_two.x), 1.0));
}
