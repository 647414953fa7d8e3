// Four channels of one picture, each filtered and wrapped in its own way.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    vec2 p = fract(uv * 2.0) * 2.0 - 0.5;
    bool right = uv.x > 0.5, upper = uv.y > 0.5;
    if (upper) color = right ? texture(iChannel1, p) : texture(iChannel0, p);
    else color = right ? texture(iChannel3, p) : textureLod(iChannel2, p, 1.0);
    color.a = iChannelResolution[0].x / iChannelResolution[1].y;
}
