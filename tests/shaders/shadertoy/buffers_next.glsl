void mainImage(out vec4 color, in vec2 position) {
    color = texelFetch(iChannel0, ivec2(position), 0) + 1.0;
}
