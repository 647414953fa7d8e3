var<workgroup> shared_sum: atomic<u32>;
@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    textureStore(screen, int2(id.xy), float4(1.0));
    loop {
        atomicAdd(&shared_sum, 1u);
        workgroupBarrier();
    }
}
