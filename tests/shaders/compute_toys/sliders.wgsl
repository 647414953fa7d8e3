// Sliders are members of `custom` in the order of the list, not of their names: the struct's constructor takes them in that order. Three
// bars as long as their values, on red if the order is another one.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let listed = Custom(0.25, 0.5, 0.875);
    let ordered = custom.zeta == listed.zeta && custom.alpha == listed.alpha && custom.mid == listed.mid;
    let u = (float(id.x) + 0.5) / float(SCREEN_WIDTH);
    var value = custom.zeta;
    var color = float3(0.9, 0.5, 0.1);
    if (id.y >= 22u) { value = custom.alpha; color = float3(0.1, 0.8, 0.2); }
    if (id.y >= 43u) { value = custom.mid; color = float3(0.2, 0.3, 1.0); }
    let ground = select(float3(1.0, 0.0, 0.0), float3(0.02), ordered);
    textureStore(screen, int2(id.xy), float4(select(ground, color, u < value), 1.0));
}
