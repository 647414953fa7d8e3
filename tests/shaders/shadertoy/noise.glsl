#define OCTAVES 5

float hash21(vec2 p) {
    p = fract(p * vec2(123.34, 456.21));
    p += dot(p, p + 45.32);
    return fract(p.x * p.y);
}

float noise(in vec2 x) {
    vec2 i = floor(x), f = fract(x);
    f = f * f * (3.0 - 2.0 * f);
    float a = hash21(i);
    float b = hash21(i + vec2(1, 0));
    float c = hash21(i + vec2(0, 1));
    float d = hash21(i + vec2(1, 1));
    return mix(mix(a, b, f.x), mix(c, d, f.x), f.y);
}

float fbm(vec2 p) {
    float v = 0.0, a = 0.5;
    mat2 m = mat2(1.6, 1.2, -1.2, 1.6);
    for (int i = 0; i < OCTAVES; ++i) {
        v += a * noise(p);
        p = m * p;
        a *= 0.5;
    }
    return v;
}

void mainImage(out vec4 O, in vec2 I) {
    vec2 p = I / iResolution.y * 4.0;
    float q = fbm(p + fbm(p + fbm(p + 0.1 * iTime)));
    O = vec4(vec3(q, q * q, q * q * q), 1.0);
}
