// Five dispatches of one entry point, one after the other: `dispatch.id` is 0, 1, 2, 3, 4. Each multiplies by ten and adds its number,
// so that their order can be read: 1234 in the first frame. The upper half shows it as bits, the lower half how many there were.
#storage digits array<u32, 2>
#dispatch_count append 5

#workgroup_count append 1 1 1
@compute @workgroup_size(1)
fn append(@builtin(global_invocation_id) id: uint3) {
    digits[0] = digits[0] * 10u + dispatch.id;
    digits[1] += 1u;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = digits[id.y * 2u / SCREEN_HEIGHT];
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
