int cell(ivec2 p) {
    ivec2 size = ivec2(iResolution.xy);
    return int(texelFetch(iChannel0, (p + size) % size, 0).x > 0.5);
}

void mainImage(out vec4 fragColor, in vec2 fragCoord) {
    ivec2 p = ivec2(fragCoord);
    if (iFrame == 0) {
        fragColor = vec4(step(0.6, hash(fragCoord)));
        return;
    }
    int n = 0;
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++)
            if (x != 0 || y != 0) n += cell(p + ivec2(x, y));
    bool alive = n == 3 || (n == 2 && cell(p) == 1);
    fragColor = vec4(alive ? 1.0 : 0.0);
}
