// Both channels: the first as it is, texel by texel, the second on the right. 8-bit channels are decoded from sRGB.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    var color = float4(0.0);
    if (at.x < SCREEN_WIDTH / 2) {
        let size = int2(textureDimensions(channel0));
        color = textureLoad(channel0, at % size, 0);
    } else {
        let uv = (float2(f32(at.x - SCREEN_WIDTH / 2), f32(at.y)) + 0.5) / float2(float(SCREEN_WIDTH / 2), float(SCREEN_HEIGHT));
        color = textureSampleLevel(channel1, bilinear, uv, 0.0);
    }
    textureStore(screen, at, float4(color.rgb, 1.0));
}
