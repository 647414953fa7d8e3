// A buffer that reads itself: an orbiting light whose trail fades and drifts upwards.
void mainImage(out vec4 color, in vec2 position) {
    color = texture(iChannel0, position / iResolution.xy);
}
