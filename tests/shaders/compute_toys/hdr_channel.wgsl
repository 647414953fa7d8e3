// A channel of a .hdr file keeps numbers above 1: exposure by a slider brings its sun down, where 8 bits would have clipped it.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let uv = (float2(id.xy) + 0.5) / float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    let radiance = textureSampleLevel(channel0, bilinear, uv, 0.0).rgb;
    let exposed = radiance * exp2(custom.exposure * select(0.0, 1.0, uv.y > 0.5));
    textureStore(screen, int2(id.xy), float4(clamp(exposed, float3(0.0), float3(1.0)), 1.0));
}
