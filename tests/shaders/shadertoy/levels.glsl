// textureLod between levels, texelFetch of one level, textureSize of all: the coarser the further right.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    // The same level for 16 columns at a time: some drivers take one level for a whole group of pixels.
    float steps = floor(position.x / 16.0);
    if (uv.y > 0.5) {
        color = textureLod(iChannel0, uv * vec2(4.0, 2.0), steps * 0.8);
    } else {
        int level = int(steps);
        ivec2 size = textureSize(iChannel0, level);
        color = texelFetch(iChannel0, ivec2(fract(uv * vec2(6.0, 2.0)) * vec2(size)), level);
    }
}
