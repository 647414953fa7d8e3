@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    var x = id.x;
    loop {
        x = x * 1664525u + 1013904223u;
        if (x == id.x && x != id.x) { break; }
    }
    textureStore(screen, int2(id.xy), float4(float(x)));
}
