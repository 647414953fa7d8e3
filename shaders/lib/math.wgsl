// Small mathematics that every kernel shares. Pure functions, no bindings.

const PI: f32 = 3.14159265358979;
const TWO_PI: f32 = 6.28318530717959;
const INV_PI: f32 = 0.318309886183791;

/// Relative luminance of a linear Rec. 709 colour.
/// Source: ITU-R BT.709-6 (2015), item 3.2.
fn luminance(linear: vec3f) -> f32 {
    return dot(linear, vec3f(0.2126, 0.7152, 0.0722));
}

/// An orthonormal, right-handed frame around the unit vector `n`: columns tangent, bitangent, `n`.
/// `make_frame(n) * v_local` is `v` in the space of `n`; `v * make_frame(n)` goes the other way.
/// Source: Duff et al. 2017, "Building an Orthonormal Basis, Revisited", listing 3. Continuous but for the plane z = 0.
fn make_frame(n: vec3f) -> mat3x3f {
    let sign = select(-1.0, 1.0, n.z >= 0.0);
    let a = -1.0 / (sign + n.z);
    let b = n.x * n.y * a;
    return mat3x3f(
        vec3f(1.0 + sign * n.x * n.x * a, sign * b, -sign * n.x),
        vec3f(b, sign + n.y * n.y * a, -n.y),
        n,
    );
}

/// A bijective 32-bit hash with little bias: every input bit changes every output bit with probability near 1/2.
/// Source: Wellons 2018, "Prospecting for Hash Functions", `lowbias32`; the constant before it, so that 0 does not stay 0, is
/// Vegdahl's (crate `sobol_burley`, which the tests use as the oracle).
fn hash_u32(x: u32) -> u32 {
    var h = x ^ 0xe6fe3bebu;
    h = (h ^ (h >> 16u)) * 0x7feb352du;
    h = (h ^ (h >> 15u)) * 0x846ca68bu;
    return h ^ (h >> 16u);
}

/// The 24 high bits of `x` as a number in [0, 1). The largest result is 1 − 2⁻²⁴: no rounding can make it 1.
fn unit_f32(x: u32) -> f32 {
    // The value fits an i32, and the signed conversion is one instruction where the unsigned one is many.
    return f32(i32(x >> 8u)) * 5.9604644775390625e-8;
}

/// True for every number but infinities and NaN. It looks at the bits, since a compiler in fast-math mode may
/// assume that `x != x` is false.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

/// True if all three components are finite; see `is_finite`.
fn is_finite3(v: vec3f) -> bool {
    return all((bitcast<vec3u>(v) & vec3u(0x7f800000u)) != vec3u(0x7f800000u));
}

/// `v` at unit length, or `fallback` where `v` has no direction: zero, too small or too large for its square to be a
/// number, or not finite.
fn safe_normalize(v: vec3f, fallback: vec3f) -> vec3f {
    let length2 = dot(v, v);
    let has_direction = length2 > 1.0e-36 && is_finite(length2);
    return select(fallback, v * inverseSqrt(select(1.0, length2, has_direction)), has_direction);
}

/// The origin of a ray that leaves the surface point `p` (world space, metres) on the side that the unit normal `n_geometric` points
/// to: far enough from the surface not to meet it again, in proportion to the rounding of `p`'s own coordinates.
/// Source: Wächter & Binder 2019, "A Fast and Robust Method for Avoiding Self-Intersection", Ray Tracing Gems, chapter 6,
/// listing 6-1 (256 units in the last place; near the origin, where these are too small, 1/65,536 m).
fn offset_ray(p: vec3f, n_geometric: vec3f) -> vec3f {
    let steps = vec3i(n_geometric * 256.0);
    let moved = bitcast<vec3f>(bitcast<vec3i>(p) + select(steps, -steps, p < vec3f(0.0)));
    return select(moved, p + n_geometric * (1.0 / 65536.0), abs(p) < vec3f(1.0 / 32.0));
}
