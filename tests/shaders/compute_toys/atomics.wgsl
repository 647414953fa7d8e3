// Every atomic operation, each in a way that does not depend on the order of the invocations. 64 invocations; row by row as bits:
// add, sub, max, min, and, or, xor, exchange, and the winners of compare-and-exchange.
#storage cells array<atomic<u32>, 10>
#storage signed_cells array<atomic<i32>, 2>

#workgroup_count prepare 1 1 1
@compute @workgroup_size(1)
fn prepare(@builtin(global_invocation_id) id: uint3) {
    for (var i = 0; i < 10; i++) { atomicStore(&cells[i], 0u); }
    atomicStore(&cells[1], 10000u);
    atomicStore(&cells[3], 0xffffu);
    atomicStore(&cells[4], 0xffffu);
    atomicStore(&signed_cells[0], 5);
    atomicStore(&signed_cells[1], -5);
}

#workgroup_count work 2 1 1
@compute @workgroup_size(32)
fn work(@builtin(global_invocation_id) id: uint3) {
    let i = id.x;
    atomicAdd(&cells[0], i);
    atomicSub(&cells[1], i * 2u);
    atomicMax(&cells[2], i * 100u);
    atomicMin(&cells[3], 700u + i);
    atomicAnd(&cells[4], ~(1u << (i % 8u)));
    atomicOr(&cells[5], 1u << (i % 12u));
    atomicXor(&cells[6], i * 257u + 1u);
    if (i == 7u) { atomicExchange(&cells[7], 4321u); }
    let result = atomicCompareExchangeWeak(&cells[8], 0u, i + 1u);
    if (result.exchanged) { atomicAdd(&cells[9], 1u); }
    atomicMin(&signed_cells[0], -int(i));
    atomicMax(&signed_cells[1], int(i) - 100);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let row = min(id.y / 6u, 9u);
    var value = atomicLoad(&cells[min(row, 7u)]);
    // A weak exchange may fail for no reason, but never succeed twice.
    if (row == 8u) { value = uint(atomicLoad(&cells[9]) <= 1u && atomicLoad(&cells[8]) <= 64u); }
    if (row == 9u) { value = uint(100 - atomicLoad(&signed_cells[0])) * 256u + uint(10 - atomicLoad(&signed_cells[1])); }
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
