// std/string: literals, itoa and strrev, drawn with a font of 3 × 5 pixels. The number is 1000 frames before now, so that it is negative.
#include <string>

// Fifteen bits, row by row from the upper left corner, the highest first.
fn glyph(code: u32) -> u32 {
    switch code {
        case 0x2du: { return 0x01c0u; }
        case 0x30u: { return 0x7b6fu; }
        case 0x31u: { return 0x2c97u; }
        case 0x32u: { return 0x73e7u; }
        case 0x33u: { return 0x72cfu; }
        case 0x34u: { return 0x5bc9u; }
        case 0x35u: { return 0x79cfu; }
        case 0x36u: { return 0x79efu; }
        case 0x37u: { return 0x7249u; }
        case 0x38u: { return 0x7befu; }
        case 0x39u: { return 0x7bcfu; }
        case 0x49u: { return 0x7497u; }
        case 0x4bu: { return 0x5badu; }
        case 0x4cu: { return 0x4927u; }
        case 0x4eu: { return 0x6b6du; }
        case 0x22u: { return 0x5a00u; }
        default: { return 0u; }
    }
}

fn drawn(text: String, at: uint2) -> float {
    var letters = text;
    let cell = at / uint2(4u, 6u);
    let inside = at % uint2(4u, 6u);
    if (cell.y != 0u || cell.x >= letters.len || inside.x == 3u || inside.y == 5u) { return 0.0; }
    return float((glyph(letters.chars[cell.x]) >> (14u - inside.x - 3u * inside.y)) & 1u);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = id.xy / 2u;
    let line = at.y / 8u;
    let p = uint2(at.x, at.y % 8u);
    var lit = 0.0;
    if (line == 0u) { lit = drawn("KILN \"1\"", p); }
    if (line == 1u) { lit = drawn(strrev("NLIK"), p); }
    if (line == 2u) { lit = drawn(itoa(int(time.frame) - 1000), p); }
    if (line == 3u) { lit = drawn(itoa(1234567890), p); }
    textureStore(screen, int2(id.xy), float4(lit, lit * 0.7, 0.1, 1.0));
}
