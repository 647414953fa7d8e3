// As in OpenGL, y counts from below: the picture's row 0 is its highest, but fragCoord's is its lowest, and so is a texture's. The
// channel stands upright on the left; the right half is red above and blue below.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    if (uv.x < 0.5) {
        color = texture(iChannel0, vec2(uv.x * 2.0, uv.y));
    } else {
        color = vec4(smoothstep(0.4, 0.6, uv.y), 0.0, smoothstep(0.6, 0.4, uv.y), 1.0);
    }
    if (gl_FragCoord.x < 1.0 || gl_FragCoord.y < 1.0) color = vec4(1.0);
}
