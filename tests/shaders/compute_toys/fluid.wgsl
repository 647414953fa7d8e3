// Ink carried by a rotating flow: advection through two pass layers, the velocity written once by a dispatch of frame 0.
#dispatch_once stir

@compute @workgroup_size(16, 16)
fn stir(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = float2(id.xy) - float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT)) * 0.5;
    passStore(1, int2(id.xy), float4(float2(-p.y, p.x) * exp(-dot(p, p) / 900.0) * 6.0, 0.0, 0.0));
    let bands = float((id.x / 12u) % 2u);
    passStore(0, int2(id.xy), float4(bands, 1.0 - bands, float(id.y) / float(SCREEN_HEIGHT), 1.0));
}

@compute @workgroup_size(16, 16)
fn carry(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    let velocity = passLoad(1, at, 0).xy;
    let size = float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    let from_uv = (float2(id.xy) + 0.5 - velocity * time.delta) / size;
    let ink = passSampleLevelBilinearRepeat(0, from_uv, 0.0);
    passStore(0, at, ink);
    textureStore(screen, at, ink);
}
