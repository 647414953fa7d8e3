// Cells with edges of even width: two passes over the neighbours.
vec2 random(vec2 cell) {
    uvec2 q = uvec2(ivec2(cell) + 1000);
    uint h = q.x * 1597334673u ^ q.y * 3812015801u;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    return vec2(h & 0xffffu, h >> 16) / 65536.0;
}

vec2 point(vec2 cell) { return 0.5 + 0.4 * sin(iTime + 6.2831853 * random(cell)); }

void mainImage(out vec4 color, in vec2 position) {
    vec2 p = position / 16.0, base = floor(p), inside = p - base, nearest_cell = vec2(0), to_nearest = vec2(8);
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++) {
            vec2 cell = vec2(x, y), r = cell + point(base + cell) - inside;
            if (dot(r, r) < dot(to_nearest, to_nearest)) { to_nearest = r; nearest_cell = cell; }
        }
    float edge = 8.0;
    for (int y = -2; y <= 2; y++)
        for (int x = -2; x <= 2; x++) {
            vec2 cell = nearest_cell + vec2(x, y), r = cell + point(base + cell) - inside, across = r - to_nearest;
            if (dot(across, across) > 1e-5) edge = min(edge, dot(0.5 * (to_nearest + r), normalize(across)));
        }
    vec3 tint = vec3(random(base + nearest_cell), 0.6);
    color = vec4(mix(vec3(0.02), tint, smoothstep(0.02, 0.08, edge)), 1.0);
}
