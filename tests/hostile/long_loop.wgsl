@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    var sum = 0u;
    for (var i = 0u; i < 200000u; i++) {
        sum += i ^ id.x;
    }
    textureStore(screen, int2(id.xy), float4(float(sum & 255u) / 255.0));
}
