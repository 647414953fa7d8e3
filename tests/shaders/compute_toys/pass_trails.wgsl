// A comet whose tail is the last frame, drawn a little larger and darker: feedback through passSampleLevelBilinearRepeat.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let size = float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT));
    let position = float2(id.xy) + 0.5;
    let uv = position / size;
    let turn = float(time.frame) * 0.21;
    let head = size * 0.5 + float2(cos(turn), sin(turn)) * float2(34.0, 20.0);
    let glow = smoothstep(7.0, 3.0, distance(position, head));
    let shrunk = (uv - 0.5) * 0.985 + 0.5;
    let tail = passSampleLevelBilinearRepeat(2, shrunk, 0.0) * float4(0.96, 0.9, 0.8, 1.0);
    let color = max(tail, float4(glow, glow * 0.9, glow * 0.6, 1.0));
    passStore(2, int2(id.xy), color);
    textureStore(screen, int2(id.xy), color);
}
