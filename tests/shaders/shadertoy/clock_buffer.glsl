void mainImage(out vec4 color, in vec2 position) {
    color = texelFetch(iChannel0, ivec2(position), 0) + vec4(iTimeDelta, 0.0, 0.0, 0.0);
}
