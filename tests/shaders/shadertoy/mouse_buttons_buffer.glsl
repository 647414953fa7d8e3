void mainImage(out vec4 color, in vec2 position) {
    color = texelFetch(iChannel0, ivec2(position), 0);
    if (iMouse.z > 0.0) color.x += 1.0;
    if (iMouse.w > 0.0) color.y += 1.0;
}
