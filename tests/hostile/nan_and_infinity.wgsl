@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    let zero = float(id.z);
    textureStore(screen, int2(id.xy), float4(zero / zero, 1.0 / zero, -1.0 / zero, 1.0));
}
