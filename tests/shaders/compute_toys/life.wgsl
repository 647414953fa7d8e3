// Conway's life on a torus, in a pass texture: an r-pentomino and a glider.

fn alive(p: int2) -> int {
    let size = int2(SCREEN_WIDTH, SCREEN_HEIGHT) / 2;
    return int(passLoad(0, (p + size) % size, 0).x);
}

@compute @workgroup_size(8, 8)
fn evolve(@builtin(global_invocation_id) id: uint3) {
    let p = int2(id.xy);
    if (time.frame == 0u) {
        let c = p - int2(24, 16);
        var seed = all(c == int2(0, 0)) || all(c == int2(1, 0)) || all(c == int2(-1, 1));
        seed = seed || all(c == int2(0, 1)) || all(c == int2(0, 2));
        let g = p - int2(4, 4);
        seed = seed || all(g == int2(1, 0)) || all(g == int2(2, 1)) || (g.y == 2 && g.x >= 0 && g.x <= 2);
        passStore(0, p, float4(select(0.0, 1.0, seed)));
        return;
    }
    var neighbours = 0;
    for (var i = 0; i < 9; i++) {
        if (i != 4) { neighbours += alive(p + int2(i % 3 - 1, i / 3 - 1)); }
    }
    let next = neighbours == 3 || (neighbours == 2 && alive(p) == 1);
    passStore(0, p, float4(select(0.0, 1.0, next)));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    let lit = passLoad(0, int2(id.xy / 2u), 0).x;
    textureStore(screen, int2(id.xy), float4(lit * 0.2, lit, lit * 0.4, 1.0));
}
