vec4 blur(sampler2D s, vec2 uv, float r) {
    vec4 sum = vec4(0);
    for (float x = -1.; x <= 1.; x++)
        for (float y = -1.; y <= 1.; y++)
            sum += texture(s, uv + vec2(x, y) * r);
    return sum / 9.;
}

void mainImage(out vec4 c, in vec2 p) {
    vec2 uv = p / iResolution.xy;
    vec4 a = texture(iChannel0, uv);
    vec4 b = texture(iChannel1, uv + texture(iChannel0, uv * 2.0, -1.0).xy, 0.5);
    vec4 d = texelFetch(iChannel2, ivec2(p), 0);
    vec4 e = textureLod(iChannel3, uv, 2.0);
    ivec2 size = textureSize(iChannel0, 0);
    c = 0.2 * (a + b + d + e + blur(iChannel0, uv, 1.0 / float(size.x)));
    c += 1e-3 * vec4(iChannelResolution[0].xy, iChannelTime[1], 0.0);
}
