#define MAX_STEPS 96
#define EPS .001
#define rot(a) mat2(cos(a), -sin(a), sin(a), cos(a))
#define sat(x) clamp(x, 0.0, 1.0)

const float PI = 3.14159265;
const vec3 LIGHT = normalize(vec3(1.0, 2.0, -1.5));
float speed = 0.5;
vec2 half_size = iResolution.xy * 0.5;

struct Hit {
    float d;
    int material;
};

float map(vec3 p);

Hit nearest(Hit a, Hit b) { return a.d < b.d ? a : b; }

float sphere(vec3 p, float r) { return length(p) - r; }
float box(in vec3 p, in vec3 b) {
    vec3 q = abs(p) - b;
    return length(max(q, 0.)) + min(max(q.x, max(q.y, q.z)), 0.);
}

vec3 normal(vec3 p) {
    vec2 e = vec2(EPS, 0.);
    return normalize(vec3(map(p + e.xyy) - map(p - e.xyy), map(p + e.yxy) - map(p - e.yxy), map(p + e.yyx) - map(p - e.yyx)));
}

float map(vec3 p) {
    p.xz *= rot(iTime * speed);
    Hit h = nearest(Hit(sphere(p, 1.), 0), Hit(box(p - vec3(0, -1.2, 0), vec3(2, .1, 2)), 1));
    return h.d;
}

void camera(out vec3 ro, out vec3 rd, in vec2 uv) {
    ro = vec3(0., 0., -4.);
    rd = normalize(vec3(uv, 1.5));
}

void mainImage(out vec4 O, vec2 U) {
    vec2 uv = (U - half_size) / iResolution.y;
    vec3 ro, rd;
    camera(ro, rd, uv);
    float t = 0.;
    for (int i = 0; i < MAX_STEPS; i++) {
        float d = map(ro + rd * t);
        if (d < EPS || t > 20.) break;
        t += d;
    }
    vec3 n = normal(ro + rd * t);
    float light = sat(dot(n, LIGHT));
    O = vec4(vec3(light) * exp(-.1 * t), 1);
    O.rgb = pow(O.rgb, vec3(1. / 2.2));
}
