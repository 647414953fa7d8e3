// keyDown over all 256 key codes as a grid of 16 × 16; below, how many frames each of four keys was down, as bits.
#storage held array<u32, 4>
#calcdefine CELL SCREEN_WIDTH/16

#workgroup_count remember 1 1 1
@compute @workgroup_size(4)
fn remember(@builtin(global_invocation_id) id: uint3) {
    held[id.x] += uint(keyDown(37u + id.x));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let column = id.x / CELL;
    if (id.y < 48u) {
        let down = keyDown(column + 16u * (id.y / 3u));
        textureStore(screen, int2(id.xy), select(float4(0.0, 0.0, 0.2, 1.0), float4(1.0, 0.8, 0.0, 1.0), down));
        return;
    }
    let lit = float((held[(id.y - 48u) / 4u] >> column) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
