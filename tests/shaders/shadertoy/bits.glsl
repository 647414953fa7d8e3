// Integers: a pattern of and, or and exclusive or, a hash, shifts, and the bits of floats.
uint hash(uint x) {
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

void mainImage(out vec4 color, in vec2 position) {
    uvec2 p = uvec2(position);
    uint pattern = ((p.x ^ p.y) & 31u) << 3;
    float noise = float(hash(p.x / 4u + 4096u * (p.y / 4u)) >> 8) / 16777216.0;
    float exponent = float((floatBitsToUint(position.x) >> 23) - 127u) / 8.0;
    float same = intBitsToFloat(floatBitsToInt(position.y)) == position.y ? 0.2 : 0.0;
    color = vec4(float(pattern) / 255.0, exponent, noise * 0.5 + same, 1.0);
}
