// All four buffers, drawn in the order A, B, C, D: each reads the one before it, of this very frame, and A reads D of the last frame.
// A quarter of the picture for each, as bits of a count: in frame n it is 4n + 1, 4n + 2, 4n + 3, 4n + 4.
float lit(sampler2D counter, float x) {
    int count = int(texelFetch(counter, ivec2(0), 0).x + 0.5);
    return float((count >> int(x * 16.0)) & 1);
}

void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    float row = floor((1.0 - uv.y) * 4.0);
    float bit = row < 1.0 ? lit(iChannel0, uv.x) : row < 2.0 ? lit(iChannel1, uv.x) : row < 3.0 ? lit(iChannel2, uv.x) : lit(iChannel3, uv.x);
    color = vec4(vec3(bit), 1.0);
}
