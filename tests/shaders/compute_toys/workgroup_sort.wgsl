// A bitonic sort in every workgroup: each row of the right half is the row of the left half, sorted.

var<workgroup> keys: array<u32, 64>;

fn scrambled(x: u32, y: u32) -> u32 {
    var h = (x * 0x9e3779b1u) ^ (y * 0x85ebca77u);
    h ^= h >> 15u;
    h *= 0x2c1b3c6du;
    return (h >> 24u) & 0xffu;
}

#workgroup_count sort 1 SCREEN_HEIGHT 1
@compute @workgroup_size(64)
fn sort(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) row: uint3) {
    keys[i] = scrambled(i, row.y / 4u);
    textureStore(screen, int2(int(i), int(row.y)), float4(float3(float(keys[i]) / 255.0), 1.0));
    for (var block = 2u; block <= 64u; block *= 2u) {
        for (var stride = block / 2u; stride > 0u; stride /= 2u) {
            workgroupBarrier();
            let other = i ^ stride;
            let a = keys[i];
            let b = keys[other];
            let keep_smaller = ((i & block) == 0u) == (i < other);
            workgroupBarrier();
            keys[i] = select(max(a, b), min(a, b), keep_smaller);
        }
    }
    workgroupBarrier();
    let shade = float(keys[i]) / 255.0;
    textureStore(screen, int2(int(i) + 64, int(row.y)), float4(shade, shade * 0.7, 0.2, 1.0));
}
