// Without sliders there is still a `custom`, of one member that is 0. Unbound channels are one black texel, and `assert` does nothing.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    assert(0, false);
    assert(1, custom._dummy == 0.0);
    let size = textureDimensions(channel0) + textureDimensions(channel1);
    let texel = textureLoad(channel0, int2(0), 0) + textureSampleLevel(channel1, bilinear, float2(0.5), 0.0);
    let blank = all(size == uint2(2u)) && all(texel == float4(0.0)) && custom._dummy == 0.0;
    let stripes = float((id.x / 8u + id.y / 8u) % 2u);
    textureStore(screen, int2(id.xy), float4(stripes, select(0.0, 1.0, blank), 1.0 - stripes, 1.0));
}
