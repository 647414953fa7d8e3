// A blur by workgroup memory: every workgroup loads its tile with a margin, waits, and averages. The left half is not blurred.
#define TILE 16
#define MARGIN 3
#calcdefine SIDE TILE+2*MARGIN

var<workgroup> tile: array<array<float3, SIDE>, SIDE>;

fn checker(p: int2) -> float3 {
    let cell = (p / 8) & int2(1);
    return select(float3(0.05, 0.1, 0.3), float3(1.0, 0.8, 0.3), (cell.x ^ cell.y) == 1);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(workgroup_id) group: uint3, @builtin(local_invocation_id) local: uint3,
              @builtin(local_invocation_index) index: u32) {
    let corner = int2(group.xy) * TILE - MARGIN;
    for (var i = int(index); i < SIDE * SIDE; i += TILE * TILE) {
        let q = int2(i % SIDE, i / SIDE);
        tile[q.y][q.x] = checker(max(corner + q, int2(0)));
    }
    workgroupBarrier();
    let center = int2(local.xy) + MARGIN;
    var sum = float3(0.0);
    for (var y = -MARGIN; y <= MARGIN; y++) {
        for (var x = -MARGIN; x <= MARGIN; x++) {
            sum += tile[center.y + y][center.x + x];
        }
    }
    let at = int2(group.xy * 16u + local.xy);
    let mean = sum / float((2 * MARGIN + 1) * (2 * MARGIN + 1));
    let color = select(mean, tile[center.y][center.x], at.x < SCREEN_WIDTH / 2);
    textureStore(screen, at, float4(color, 1.0));
}
