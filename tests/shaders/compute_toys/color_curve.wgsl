// The picture is linear and becomes sRGB at the end: a linear ramp above, the same decoded by hand below, which looks even. Alpha is
// ignored: the picture is opaque. Numbers beyond [0, 1] are clamped.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let u = float(id.x) / float(SCREEN_WIDTH - 1);
    var color = float3(u);
    if (id.y >= 22u) { color = select(pow((u + 0.055) / 1.055, 2.4), u / 12.92, u <= 0.04045) * float3(1.0); }
    if (id.y >= 44u) { color = float3(u * 3.0 - 1.0, 1.5 - u * 3.0, u * 2.0); }
    textureStore(screen, int2(id.xy), float4(color, 0.25));
}
