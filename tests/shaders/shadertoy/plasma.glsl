// A plasma: sums of sines, a palette of cosines, tanh for the contrast.
vec3 palette(float t) { return 0.5 + 0.5 * cos(6.2831853 * (t + vec3(0.0, 0.33, 0.67))); }

void mainImage(out vec4 color, in vec2 position) {
    vec2 p = 8.0 * position / iResolution.y;
    float v = sin(p.x + iTime) + sin(p.y * 0.7 - iTime) + sin((p.x + p.y) * 0.5) + sin(length(p - 4.0) * 1.5);
    color = vec4(palette(v * 0.15) * (0.8 + 0.2 * tanh(v)), 1.0);
}
