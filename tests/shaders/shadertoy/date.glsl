// iDate of a simulated clock is the same in every run: the day of time zero, and the seconds that have passed since.
void mainImage(out vec4 color, in vec2 position) {
    vec2 uv = position / iResolution.xy;
    float row = floor((1.0 - uv.y) * 4.0);
    float number = row < 1.0 ? iDate.x : row < 2.0 ? iDate.y + 1.0 : row < 3.0 ? iDate.z : iDate.w * 16.0;
    color = vec4(vec3(float((int(number + 0.5) >> int(uv.x * 16.0)) & 1)), 1.0);
}
