// A Julia set with a smooth count of iterations; two sliders are its constant.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var z = (float2(id.xy) * 2.0 - float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT))) / float(SCREEN_HEIGHT) * 1.2;
    let c = float2(custom.re, custom.im);
    var count = 0.0;
    for (var i = 0; i < 40; i++) {
        if (dot(z, z) > 64.0) { break; }
        z = float2(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y) + c;
        count += 1.0;
    }
    count -= log2(max(0.5 * log2(max(dot(z, z), 1.0)), 1.0)) - 2.0;
    let shade = clamp(count / 24.0, 0.0, 1.0);
    textureStore(screen, int2(id.xy), float4(shade, shade * shade, 0.3 * (1.0 - shade), 1.0));
}
