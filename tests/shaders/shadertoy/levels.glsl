// textureLod between levels, texelFetch of one level, textureSize of all: the coarser the further right.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    if (uv.y > 0.5) {
        color = textureLod(iChannel0, uv * vec2(4.0, 2.0), uv.x * 5.0);
    } else {
        int level = int(uv.x * 5.0);
        ivec2 size = textureSize(iChannel0, level);
        color = texelFetch(iChannel0, ivec2(fract(uv * vec2(5.0, 2.0)) * vec2(size)), level);
    }
}
