#storage huge array<array<u32, 32768>, 16384>
@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    huge[id.x][id.y] = 1u;
    textureStore(screen, int2(id.xy), float4(1.0));
}
