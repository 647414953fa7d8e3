// iMouse: the position counts from below and stays where the button was last down; z is positive while it is down, w in the frame of
// the click alone. A buffer counts both; here they are bits, with the position and the click's place, whole, below them.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    vec4 counted = texelFetch(iChannel0, ivec2(0), 0);
    float row = floor((1.0 - uv.y) * 4.0);
    float number = row < 1.0 ? counted.x : row < 2.0 ? counted.y : row < 3.0 ? iMouse.x * 256.0 + iMouse.y : abs(iMouse.z) * 256.0 + abs(iMouse.w);
    color = vec4(vec3(float((int(number + 0.5) >> int(uv.x * 16.0)) & 1)), 1.0);
}
