// All layers of pass_out are copied to pass_in after *every* dispatch, not after the frame. `fill` sees its own last store only in the
// next of its dispatches: layer 0 counts 1, 2, 3; layer 1 keeps what `fill` read, which lags one behind; `main_image` sees both.
#dispatch_count fill 3

@compute @workgroup_size(16, 16)
fn fill(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    let before = passLoad(0, at, 0).x;
    passStore(0, at, float4(before + 1.0));
    let same_dispatch = passLoad(0, at, 0).x;
    passStore(1, at, float4(same_dispatch));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let layer = int(id.y * 2u / SCREEN_HEIGHT);
    let value = uint(passLoad(layer, int2(id.xy), 0).x);
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
