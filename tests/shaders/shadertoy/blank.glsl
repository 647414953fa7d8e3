// A channel that the job does not give is one black texel, and its resolution is 0: a sunset where that holds, red where it does not.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    vec4 nothing = texture(iChannel0, uv) + texelFetch(iChannel3, ivec2(0), 0) + textureLod(iChannel1, uv, 1.0);
    bool blank = nothing == vec4(0.0) && iChannelResolution[2].xy == vec2(0.0);
    vec3 sky = mix(vec3(0.9, 0.5, 0.2), vec3(0.1, 0.2, 0.5), smoothstep(0.2, 0.9, uv.y));
    float sun = smoothstep(0.16, 0.15, length((uv - vec2(0.5, 0.35)) * vec2(1.5, 1.0)));
    color = blank ? vec4(mix(sky, vec3(1.0, 0.9, 0.6), sun), 1.0) : vec4(1.0, 0.0, 0.0, 1.0);
}
