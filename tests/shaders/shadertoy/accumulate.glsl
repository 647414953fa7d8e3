// A soft shadow by random samples, one a frame, averaged in a buffer whose alpha counts them.
void mainImage(out vec4 color, in vec2 position) {
    vec4 sum = texelFetch(iChannel0, ivec2(position), 0);
    color = vec4(sqrt(sum.rgb / max(sum.a, 1.0)), 1.0);
}
