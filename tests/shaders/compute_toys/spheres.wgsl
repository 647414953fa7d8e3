// Spheres over a floor by marching along a distance field, with a soft shadow; the camera turns with the clock.
#define STEPS 64

fn scene(p: float3) -> float {
    let cell = float3(p.x - round(p.x / 2.5) * 2.5, p.y - 0.6, p.z - round(p.z / 2.5) * 2.5);
    return min(length(cell) - 0.6, p.y);
}

fn normal(p: float3) -> float3 {
    let e = float2(0.01, 0.0);
    return normalize(float3(scene(p + e.xyy) - scene(p - e.xyy), scene(p + e.yxy) - scene(p - e.yxy),
                            scene(p + e.yyx) - scene(p - e.yyx)));
}

fn shadow(origin: float3, direction: float3) -> float {
    var light = 1.0;
    var t = 0.08;
    for (var i = 0; i < 24; i++) {
        let d = scene(origin + direction * t);
        light = min(light, 6.0 * d / t);
        t += clamp(d, 0.05, 0.5);
    }
    return clamp(light, 0.0, 1.0);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let uv = (float2(id.xy) * 2.0 - float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT))) / float(SCREEN_HEIGHT);
    let origin = float3(1.25, 2.6, -5.0);
    let c = cos(time.elapsed);
    let s = sin(time.elapsed);
    let ahead = normalize(float3(uv.x, -uv.y - 0.55, 1.6));
    let direction = float3(c * ahead.x + s * ahead.z, ahead.y, c * ahead.z - s * ahead.x);
    var t = 0.0;
    for (var i = 0; i < STEPS; i++) { t += min(scene(origin + direction * t), 1.0); }
    let sky = float3(0.35, 0.5, 0.8);
    var color = sky;
    if (t < 20.0) {
        let p = origin + direction * t;
        let sun = normalize(float3(0.6, 0.8, -0.4));
        let albedo = select(float3(0.8, 0.3, 0.2), float3(0.6), p.y < 0.02);
        let n = normal(p);
        let light = max(dot(n, sun), 0.0) * shadow(p + n * 0.03, sun);
        color = mix(albedo * (light + 0.15), sky, 1.0 - exp(-0.01 * t * t));
    }
    textureStore(screen, int2(id.xy), float4(color, 1.0));
}
