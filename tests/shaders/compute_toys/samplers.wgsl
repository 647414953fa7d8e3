// The six samplers on a small picture, each from -0.5 to 1.5 at the levels 0.3 and 1.2: the upper row clamps, the lower repeats.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let tile = id.xy / 32u;
    let uv = (float2(id.xy % 32u) + 0.5) / 16.0 - 0.5;
    let level = 0.3 + 0.9 * float(id.x % 32u / 16u);
    var color = float4(0.0);
    switch tile.x + 3u * tile.y {
        case 0u: { color = textureSampleLevel(channel0, nearest, uv, level); }
        case 1u: { color = textureSampleLevel(channel0, bilinear, uv, level); }
        case 2u: { color = textureSampleLevel(channel0, trilinear, uv, level); }
        case 3u: { color = textureSampleLevel(channel0, nearest_repeat, uv, level); }
        case 4u: { color = textureSampleLevel(channel0, bilinear_repeat, uv, level); }
        default: { color = textureSampleLevel(channel0, trilinear_repeat, uv, level); }
    }
    textureStore(screen, int2(id.xy), float4(color.rgb, 1.0));
}
