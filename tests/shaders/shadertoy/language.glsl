#ifdef GL_ES
precision highp float;
#endif
#if __VERSION__ >= 300 && !defined(NOTHING)
#define LOOPS(n, body) for (int i = 0; i < n; i++) { body; }
#else
#error this branch must not be taken
#endif
#define MULTI(a, b) \
    vec2(a, \
         b)

int counter = 0;
const int N = 4;
const float table[4] = float[4](0.1, 0.2, 0.3, 0.4);
const mat3 M = mat3(0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0);
vec3 palette[2];

uint hash(uint x) {
    x ^= x >> 16u;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

float sample(float buffer) { return buffer * 0.5; }

void modify(inout vec3 v, float amount) { v.xy += amount; counter++; }

float ladder(int k) {
    switch (k) {
        case 0: return 0.1;
        case 1:
        case 2: { return 0.2; }
        default: break;
    }
    return 0.3;
}

void mainImage(out vec4 fragColor, in vec2 fragCoord) {
    vec3 v = vec3(0);
    LOOPS(N, v += M * vec3(table[i]))
    modify(v, sample(1.0));
    palette[0] = v; palette[1] = v.zyx;
    int k = 0;
    while (k < 10) { k++; if (k == 3) continue; if (k > 7) break; }
    do { k--; } while (k > 2);
    float f = k > 1 ? ladder(k) : float(hash(uint(fragCoord.x))) / 4294967295.0;
    vec2 w = MULTI(1.0, 2.0);
    bvec2 less = lessThan(w, vec2(1.5));
    if (any(less) && !all(less)) f += 1.0;
    mat2 r = mat2(1, 2, 3, 4);
    w *= r;
    w = r * w;
    f += mod(fragCoord.x, 2.0) + fract(f) + smoothstep(0.0, 1.0, f) + mix(0.0, 1.0, 0.5) + sign(f) + atan(f, 2.0);
    fragColor = vec4(fract(0.002 * fragCoord + 0.01 * palette[1].xy * w), fract(f), float(counter));
}
