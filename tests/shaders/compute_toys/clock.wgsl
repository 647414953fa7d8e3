// The simulated clock: frame 0 has no past. `delta` is kept from all frames and shown as its quotient to 1/16 s; the rest are bits.
#storage clock array<u32, 4>

#workgroup_count tick 1 1 1
@compute @workgroup_size(1)
fn tick(@builtin(global_invocation_id) id: uint3) {
    if (time.frame == 0u) {
        clock[0] = uint(time.delta == 0.0 && time.elapsed == 0.0);
    } else {
        clock[1] += uint(round(time.delta * 16.0));
    }
    clock[2] = uint(round(time.elapsed * 16.0));
    clock[3] = time.frame;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = clock[id.y * 4u / SCREEN_HEIGHT];
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
