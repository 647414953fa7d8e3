// Truchet tiles, turned by a hash of integers; colours are macros with commas and brackets.
#define INK float3(0.05, 0.15, 0.35)
#define PAPER float3(0.95, 0.9, 0.8)
#define WIDTH 2.0

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let tile = id.xy / 16u;
    var p = float2(id.xy % 16u) + 0.5;
    let h = (tile.x * 73856093u) ^ (tile.y * 19349663u) ^ 0x5bd1e995u;
    if (((h >> 3u) & 1u) == 1u) { p.x = 16.0 - p.x; }
    let d = min(abs(length(p) - 8.0), abs(distance(p, float2(16.0)) - 8.0));
    textureStore(screen, int2(id.xy), float4(mix(INK, PAPER, smoothstep(WIDTH - 0.8, WIDTH + 0.8, d)), 1.0));
}
