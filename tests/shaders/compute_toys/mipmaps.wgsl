// Channels have mipmaps down to one texel: every level as it is, the coarser the further right. The last column counts them as bits.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let levels = textureNumLevels(channel1);
    let level = id.x / 16u;
    var color = float4(0.0, 0.0, 0.1, 1.0);
    if (id.x >= 90u) {
        color = float4(float3(float((levels >> (id.y / 8u)) & 1u)), 1.0);
    } else if (level < levels) {
        let size = textureDimensions(channel1, level);
        let uv = float2(float(id.x % 16u) / 16.0, float(id.y) / float(SCREEN_HEIGHT));
        color = textureLoad(channel1, int2(uv * float2(size)), int(level));
    }
    textureStore(screen, int2(id.xy), color);
}
