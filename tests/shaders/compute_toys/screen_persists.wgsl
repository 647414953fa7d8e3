// `screen` is never cleared: every frame writes one column of eight pixels, and the earlier ones stay.

#workgroup_count main_image 1 SCREEN_HEIGHT/8 1
@compute @workgroup_size(8, 8)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    let x = time.frame * 8u + id.x;
    let shade = float(time.frame + 1u) / 12.0;
    let height = float(id.y) / float(SCREEN_HEIGHT);
    textureStore(screen, int2(int(x), int(id.y)), float4(shade, height, 1.0 - shade, 1.0));
}
