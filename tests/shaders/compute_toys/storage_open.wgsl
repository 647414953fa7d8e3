// A storage buffer without a length has as many bytes as the site gives it, 128 MiB, and the other declared one its own. Both keep what
// was written: the last element of the open one is read back.
#storage open array<u32>
#storage fixed array<uint4, 3>

#workgroup_count fill 1 1 1
@compute @workgroup_size(1)
fn fill(@builtin(global_invocation_id) id: uint3) {
    let last = arrayLength(&open) - 1u;
    open[last] += 3u;
    fixed[2].w += 5u;
    fixed[0].x = last >> 12u;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var value = fixed[0].x;
    if (id.y >= 22u) { value = open[arrayLength(&open) - 1u]; }
    if (id.y >= 44u) { value = fixed[2].w; }
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
