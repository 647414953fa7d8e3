// Packs a picture for its file: what an encoder on the host would otherwise do for every pixel, and three bytes instead of eight to read
// back. One invocation packs four pixels, counted over the whole picture, so that every format ends on a word.

// 0: RGB, 8 bits; 1: RGB, 16 bits, big-endian, as PNG wants them; 2: RGBA, 32-bit floats.
@id(0) override layout_of_pixels: u32 = 0u;
// 0: as it is; 1: linear → sRGB; 2: sRGB → linear.
@id(1) override curve: u32 = 0u;

struct Band {
    // Groups of four pixels before this band, and in it.
    first_group: u32,
    group_count: u32,
    // Of the picture, in pixels.
    width: u32,
    pixel_count: u32,
}

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var<uniform> band: Band;
@group(0) @binding(2) var<storage, read_write> words: array<u32>;
@group(0) @binding(3) var<storage, read_write> not_finite_count: atomic<u32>;

fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

// NaN becomes 0, and infinity the largest half float, which every reader of pictures takes.
fn finite(value: f32) -> f32 {
    if is_finite(value) {
        return value;
    }
    let bits = bitcast<u32>(value);
    if (bits & 0x007fffffu) != 0u {
        return 0.0;
    }
    return select(65504.0, -65504.0, (bits >> 31u) == 1u);
}

// IEC 61966-2-1.
fn srgb_from_linear(linear: f32) -> f32 {
    let value = clamp(linear, 0.0, 1.0);
    if value <= 0.0031308 {
        return 12.92 * value;
    }
    return 1.055 * pow(value, 1.0 / 2.4) - 0.055;
}

fn linear_from_srgb(encoded: f32) -> f32 {
    if encoded <= 0.04045 {
        return encoded / 12.92;
    }
    return pow((encoded + 0.055) / 1.055, 2.4);
}

fn through_curve(value: f32) -> f32 {
    if curve == 1u {
        return srgb_from_linear(value);
    }
    if curve == 2u {
        return linear_from_srgb(value);
    }
    return value;
}

fn pixel(index: u32) -> vec4f {
    if index >= band.pixel_count {
        return vec4f();
    }
    let at = vec2u(index % band.width, index / band.width);
    let found = textureLoad(picture, at, 0);
    if !(is_finite(found.r) && is_finite(found.g) && is_finite(found.b) && is_finite(found.a)) {
        atomicAdd(&not_finite_count, 1u);
    }
    return vec4f(
        through_curve(finite(found.r)),
        through_curve(finite(found.g)),
        through_curve(finite(found.b)),
        finite(found.a)
    );
}

fn unorm8(value: f32) -> u32 {
    return u32(clamp(value, 0.0, 1.0) * 255.0 + 0.5);
}

// With its two bytes swapped.
fn unorm16(value: f32) -> u32 {
    let whole = u32(clamp(value, 0.0, 1.0) * 65535.0 + 0.5);
    return ((whole & 0xffu) << 8u) | (whole >> 8u);
}

@compute @workgroup_size(64)
fn pack_frame(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    let group = id.y * workgroups.x * 64u + id.x;
    if group >= band.group_count {
        return;
    }
    let first = (band.first_group + group) * 4u;
    let a = pixel(first);
    let b = pixel(first + 1u);
    let c = pixel(first + 2u);
    let d = pixel(first + 3u);
    if layout_of_pixels == 0u {
        words[group * 3u] = unorm8(a.r) | (unorm8(a.g) << 8u) | (unorm8(a.b) << 16u) | (unorm8(b.r) << 24u);
        words[group * 3u + 1u] = unorm8(b.g) | (unorm8(b.b) << 8u) | (unorm8(c.r) << 16u) | (unorm8(c.g) << 24u);
        words[group * 3u + 2u] = unorm8(c.b) | (unorm8(d.r) << 8u) | (unorm8(d.g) << 16u) | (unorm8(d.b) << 24u);
    } else if layout_of_pixels == 1u {
        words[group * 6u] = unorm16(a.r) | (unorm16(a.g) << 16u);
        words[group * 6u + 1u] = unorm16(a.b) | (unorm16(b.r) << 16u);
        words[group * 6u + 2u] = unorm16(b.g) | (unorm16(b.b) << 16u);
        words[group * 6u + 3u] = unorm16(c.r) | (unorm16(c.g) << 16u);
        words[group * 6u + 4u] = unorm16(c.b) | (unorm16(d.r) << 16u);
        words[group * 6u + 5u] = unorm16(d.g) | (unorm16(d.b) << 16u);
    } else {
        let at = group * 16u;
        words[at] = bitcast<u32>(a.r);
        words[at + 1u] = bitcast<u32>(a.g);
        words[at + 2u] = bitcast<u32>(a.b);
        words[at + 3u] = bitcast<u32>(a.a);
        words[at + 4u] = bitcast<u32>(b.r);
        words[at + 5u] = bitcast<u32>(b.g);
        words[at + 6u] = bitcast<u32>(b.b);
        words[at + 7u] = bitcast<u32>(b.a);
        words[at + 8u] = bitcast<u32>(c.r);
        words[at + 9u] = bitcast<u32>(c.g);
        words[at + 10u] = bitcast<u32>(c.b);
        words[at + 11u] = bitcast<u32>(c.a);
        words[at + 12u] = bitcast<u32>(d.r);
        words[at + 13u] = bitcast<u32>(d.g);
        words[at + 14u] = bitcast<u32>(d.b);
        words[at + 15u] = bitcast<u32>(d.a);
    }
}
