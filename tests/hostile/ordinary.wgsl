#include "Dave_Hoskins/hash"
#define STEPS 12
#calcdefine HALF STEPS/2
#storage trail array<array<float4, SCREEN_WIDTH>, SCREEN_HEIGHT>

struct Ray {
    origin: float3,
    direction: float3,
}

fn distance_to(p: float3) -> float {
    return length(p) - 1.0 - 0.1 * hash13(floor(p * 4.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    let size = textureDimensions(screen);
    if (id.x >= size.x || id.y >= size.y) { return; }
    let uv = (float2(id.xy) * 2.0 - float2(size)) / float(size.y);
    let ray = Ray(float3(0.0, 0.0, -3.0), normalize(float3(uv, 1.5)));
    var t = 0.0;
    for (var i = 0; i < STEPS; i++) {
        let d = distance_to(ray.origin + ray.direction * t);
        if (d < 0.001) { break; }
        t += d;
    }
    var color = float4(float3(1.0 / (1.0 + t * t)), 1.0);
    #if HALF
    color = mix(color, trail[id.y][id.x], 0.5);
    #else
    color = color.bgra;
    #endif
    trail[id.y][id.x] = color;
    textureStore(screen, int2(id.xy), color);
}
