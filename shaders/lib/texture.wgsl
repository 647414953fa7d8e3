// Textures read by hand from one pool of texels: the same on every adapter, with no limit on their number.

import package::lib::bindings::{textures, texels_0, texels_1, texels_2, texels_3};
import package::lib::features::TEXEL_POOLS;

/// Brings an integer texel coordinate into [0, size): glTF 2.0, 3.8.4.3 "Wrapping".
fn wrap_texel(i: i32, size: i32, mode: u32) -> i32 {
    if mode == 1u {
        return clamp(i, 0, size - 1);
    }
    // Repetition number and place in it, with the floor that `/` and `%` lack for negative numbers.
    var repetition = i32(floor(f32(i) / f32(size)));
    var place = i - repetition * size;
    // A GPU's division may be off by some units in the last place, and the floor by one.
    if place >= size {
        place -= size;
        repetition += 1;
    }
    if place < 0 {
        place += size;
        repetition -= 1;
    }
    place = clamp(place, 0, size - 1);
    if mode == 2u && (repetition & 1) != 0 {
        place = size - 1 - place;
    }
    return place;
}

/// Radiometric value of 8-bit sRGB channels in [0, 1] (IEC 61966-2-1).
fn srgb_decode(encoded: vec3f) -> vec3f {
    let low = encoded / 12.92;
    let high = pow((encoded + 0.055) / 1.055, vec3f(2.4));
    return select(high, low, encoded <= vec3f(0.04045));
}

fn texel(pool: u32, index: u32, srgb: bool) -> vec4f {
    var packed = 0u;
    if TEXEL_POOLS == 1u {
        packed = texels_0[index];
    } else {
        switch pool {
            case 0u: { packed = texels_0[index]; }
            case 1u: { packed = texels_1[index]; }
            case 2u: { packed = texels_2[index]; }
            default: { packed = texels_3[index]; }
        }
    }
    let value = unpack4x8unorm(packed);
    return vec4f(select(value.rgb, srgb_decode(value.rgb), srgb), value.a);
}

/// Linear RGBA of texture `index` at `uv`, glTF's origin at the upper left. Not-a-number coordinates read as 0.
fn sample_texture(index: u32, uv: vec2f) -> vec4f {
    let texture = textures[index];
    let size = vec2i(vec2u(texture.size & 0xffffu, texture.size >> 16u) + 1u);
    let mode_u = texture.flags & 3u;
    let mode_v = (texture.flags >> 2u) & 3u;
    let bilinear = (texture.flags & 16u) != 0u;
    let srgb = (texture.flags & 32u) != 0u;
    let pool = (texture.flags >> 8u) & 3u;

    // Far coordinates have no fraction left anyhow; the bound keeps their conversion to integers defined.
    let bounded = clamp(select(vec2f(0.0), uv, uv == uv), vec2f(-65536.0), vec2f(65536.0));
    let place = bounded * vec2f(size) - select(0.0, 0.5, bilinear);
    let corner = floor(place);
    let fraction = place - corner;
    let x = vec2i(
        wrap_texel(i32(corner.x), size.x, mode_u),
        wrap_texel(i32(corner.x) + 1, size.x, mode_u),
    );
    let y = vec2i(
        wrap_texel(i32(corner.y), size.y, mode_v),
        wrap_texel(i32(corner.y) + 1, size.y, mode_v),
    );
    let near = texel(pool, texture.offset + u32(y.x * size.x + x.x), srgb);
    if !bilinear {
        return near;
    }
    let right = texel(pool, texture.offset + u32(y.x * size.x + x.y), srgb);
    let below = texel(pool, texture.offset + u32(y.y * size.x + x.x), srgb);
    let far = texel(pool, texture.offset + u32(y.y * size.x + x.y), srgb);
    return mix(mix(near, right, fraction.x), mix(below, far, fraction.x), fraction.y);
}
