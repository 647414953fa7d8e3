#workgroup_count main_image 65535 65535 65535
@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    textureStore(screen, int2(id.xy), float4(1.0));
}
