// Globals that are computed from uniforms before mainImage, prototypes, and names that are keywords elsewhere.
vec2 center = iResolution.xy * 0.5, scale = vec2(2.0 / iResolution.y);
const float TAU = acos(-1.0) * 2.0;
float buffer = TAU / 8.0;
int calls = 0;

vec3 sample(vec2 p);

void mainImage(out vec4 color, in vec2 position) {
    color = vec4(sample((position - center) * scale), 1.0);
    color.b += 0.1 * float(calls);
}

float petal(vec2 p) {
    calls++;
    float angle = mod(atan(p.y, p.x) + TAU, buffer) / buffer;
    return length(p) * (1.0 + 0.6 * abs(angle - 0.5));
}

vec3 sample(vec2 p) {
    float shared = petal(p), flat_part = petal(p * 0.5);
    return vec3(smoothstep(0.9, 0.85, shared), smoothstep(0.25, 0.35, flat_part), 0.2);
}
