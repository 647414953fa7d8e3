void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    vec2 light = iResolution.xy * (0.5 + 0.35 * vec2(cos(float(iFrame) * 0.3), sin(float(iFrame) * 0.2)));
    vec4 before = texture(iChannel0, uv - vec2(0.0, 1.0 / iResolution.y));
    float glow = smoothstep(6.0, 2.0, distance(position, light));
    color = max(before * vec4(0.97, 0.93, 0.85, 1.0), vec4(glow, glow * 0.8, glow * 0.5, 1.0));
    if (iFrame == 0) color = vec4(0.0, 0.0, 0.0, 1.0);
}
