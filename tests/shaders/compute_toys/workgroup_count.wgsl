// `#workgroup_count` takes arithmetic and replaces the count that covers the screen: 3 × 2 workgroups of 8 × 8 leave the rest black.
#define COLUMNS 3
#workgroup_count tiles COLUMNS 4/2 1

@compute @workgroup_size(8, 8)
fn tiles(@builtin(global_invocation_id) id: uint3, @builtin(workgroup_id) group: uint3,
         @builtin(num_workgroups) groups: uint3) {
    let tint = (float2(group.xy) + 1.0) / float2(groups.xy);
    textureStore(screen, int2(id.xy), float4(tint, 0.25, 1.0));
}
