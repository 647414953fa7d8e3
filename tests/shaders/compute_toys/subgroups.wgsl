enable subgroups;
// Shaders of the site that use subgroups say so in their first line. The sum over a subgroup does not depend on its size here: every
// invocation gives 1 over the size.

#workgroup_count main_image 2 SCREEN_HEIGHT 1
@compute @workgroup_size(64)
fn main_image(@builtin(global_invocation_id) id: uint3, @builtin(subgroup_size) size: u32) {
    let sum = subgroupAdd(1.0 / float(size));
    if (id.x >= SCREEN_WIDTH) { return; }
    let whole = abs(sum - 1.0) < 0.001;
    let shade = float(id.x) / float(SCREEN_WIDTH);
    textureStore(screen, int2(id.xy), select(float4(1.0, 0.0, 0.0, 1.0), float4(shade, 0.6, 1.0 - shade, 1.0), whole));
}
