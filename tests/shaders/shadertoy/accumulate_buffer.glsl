uint state;

float random() {
    state = state * 747796405u + 2891336453u;
    uint word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return float((word ^ (word >> 22u)) >> 8) / 16777216.0;
}

void mainImage(out vec4 color, in vec2 position) {
    state = uint(position.x) + 4096u * uint(position.y) + 16777259u * uint(iFrame);
    vec2 at = (position + vec2(random(), random()) - 0.5 - 0.5 * iResolution.xy) / iResolution.y * 4.0;
    // A disc floats above the ground, below an area light; straight lines from the ground to the light meet the disc or do not.
    vec2 light = vec2(-1.0, 1.0) + 1.2 * vec2(random() - 0.5, random() - 0.5);
    vec2 crossing = mix(at, light, 0.4);
    float open = length(crossing) < 0.6 ? 0.0 : 1.0;
    float falloff = 1.0 / (1.0 + 0.3 * dot(at - light, at - light));
    color = texelFetch(iChannel0, ivec2(position), 0) + vec4(vec3(0.9, 0.8, 0.7) * open * falloff + 0.02, 1.0);
}
