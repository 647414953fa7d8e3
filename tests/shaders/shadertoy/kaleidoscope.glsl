// Matrices: every ray is folded into a wedge of a sixth, then the plane is turned and folded again.
mat2 turn(float angle) {
    float c = cos(angle), s = sin(angle);
    return mat2(c, s, -s, c);
}

void mainImage(out vec4 color, in vec2 position) {
    vec2 p = (2.0 * position - iResolution.xy) / iResolution.y;
    float wedge = 3.14159265 / 3.0;
    float angle = abs(mod(atan(p.y, p.x) + 0.5 * wedge, wedge) - 0.5 * wedge);
    p = length(p) * vec2(cos(angle), sin(angle));
    vec3 sum = vec3(0.0);
    for (int i = 0; i < 4; i++) {
        p = abs(p) - 0.35;
        p *= turn(0.6 + 0.3 * iTime);
        p *= 1.25;
        sum += exp(-6.0 * abs(p.x)) * (0.5 + 0.5 * cos(float(i) + vec3(0.0, 1.5, 3.0)));
    }
    mat3 mixing = mat3(0.9, 0.1, 0.0, 0.1, 0.8, 0.1, 0.0, 0.2, 0.8);
    color = vec4(transpose(mixing) * sum * 0.8, 1.0);
}
