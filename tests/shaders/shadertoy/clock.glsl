// The clock as bits: iFrame, iTime and the sum of iTimeDelta in sixteenths of a second, iFrameRate.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    float row = floor((1.0 - uv.y) * 4.0);
    float number = row < 1.0 ? float(iFrame) : row < 2.0 ? iTime * 16.0 : row < 3.0 ? texelFetch(iChannel0, ivec2(0), 0).x * 16.0 : iFrameRate;
    color = vec4(vec3(float((int(number + 0.5) >> int(uv.x * 16.0)) & 1)), 1.0);
}
