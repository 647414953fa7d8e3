// Clouds by marching through a density of value noise.
float hash(vec3 p) {
    uvec3 q = uvec3(ivec3(p) + 5000);
    uint h = q.x * 0x9e3779b1u + q.y * 0x85ebca77u + q.z * 0xc2b2ae3du;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    return float((h ^ (h >> 13)) >> 8) / 16777216.0;
}

float noise(vec3 p) {
    vec3 i = floor(p), f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    vec2 e = vec2(0, 1);
    vec4 low = vec4(hash(i), hash(i + e.yxx), hash(i + e.xyx), hash(i + e.yyx));
    vec4 high = vec4(hash(i + e.xxy), hash(i + e.yxy), hash(i + e.xyy), hash(i + e.yyy));
    vec4 layer = mix(low, high, f.z);
    vec2 row = mix(layer.xz, layer.yw, f.x);
    return mix(row.x, row.y, f.y);
}

float density(vec3 p) {
    float sum = 0.55 * noise(p) + 0.3 * noise(p * 2.1) + 0.15 * noise(p * 4.3);
    return clamp((sum - 0.45 - 0.12 * abs(p.y - 2.0)) * 3.0, 0.0, 1.0);
}

void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = (position - 0.5 * iResolution.xy) / iResolution.y;
    vec3 ray = normalize(vec3(uv, 1.0)), p = vec3(iTime, 1.8, 0.0);
    vec3 sky = mix(vec3(0.6, 0.75, 0.95), vec3(0.2, 0.4, 0.8), clamp(uv.y + 0.5, 0.0, 1.0));
    float clear = 1.0;
    vec3 light = vec3(0.0);
    for (int i = 0; i < 24; i++) {
        p += ray * 0.3;
        float here = density(p), above = density(p + vec3(0.3, 0.4, 0.0));
        light += clear * here * 0.45 * mix(vec3(1.0, 0.95, 0.9), vec3(0.45, 0.5, 0.6), above);
        clear *= 1.0 - here * 0.45;
    }
    color = vec4(sky * clear + light, 1.0);
}
