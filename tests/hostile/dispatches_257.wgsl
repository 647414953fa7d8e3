#dispatch_count main_image 257
@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    textureStore(screen, int2(id.xy), float4(float(dispatch.id) / 257.0));
}
