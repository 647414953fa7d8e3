// std/string: literals, itoa and strrev, drawn with a font of 3 × 5 pixels. The number is 1000 frames before now, so that it is negative.
#include <string>
#storage font array<u32, 128>

// Fifteen bits a letter, row by row from the upper left corner, the highest first.
#dispatch_once cut
#workgroup_count cut 1 1 1
@compute @workgroup_size(1)
fn cut(@builtin(global_invocation_id) id: uint3) {
    let digits = array<u32, 10>(0x7b6fu, 0x2c97u, 0x73e7u, 0x72cfu, 0x5bc9u, 0x79cfu, 0x79efu, 0x7249u, 0x7befu, 0x7bcfu);
    for (var i = 0u; i < 10u; i++) { font[0x30u + i] = digits[i]; }
    font[0x2d] = 0x01c0u;
    font[0x22] = 0x5a00u;
    font[0x49] = 0x7497u;
    font[0x4b] = 0x5badu;
    font[0x4c] = 0x4927u;
    font[0x4e] = 0x6b6du;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let line = id.y / 16u;
    var letters: String = "KILN \"1\"";
    if (line == 1u) { letters = strrev("NLIK"); }
    if (line >= 2u) { letters = itoa(select(1234567890, int(time.frame) - 1000, line == 2u)); }
    let at = uint2(id.x / 2u, id.y / 2u % 8u);
    let letter = at.x / 4u;
    let inside = uint2(at.x % 4u, at.y);
    var lit = 0.0;
    if (letter < letters.len && inside.x < 3u && inside.y < 5u) {
        lit = float((font[letters.chars[letter]] >> (14u - inside.x - 3u * inside.y)) & 1u);
    }
    textureStore(screen, int2(id.xy), float4(lit, lit * 0.7, 0.1, 1.0));
}
