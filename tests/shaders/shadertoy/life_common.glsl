// Integers, since the sine of a large number is not the same on every GPU.
float hash(vec2 p) {
    uvec2 q = uvec2(p);
    uint h = q.x * 0x9e3779b1u ^ q.y * 0x85ebca77u;
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 12;
    return float(h >> 8) / 16777216.0;
}
