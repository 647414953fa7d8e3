// The site keeps `#dispatch_once` as a count of 0, so that a count of 0 means once as well. The last rule of an entry point counts.
#storage runs array<u32, 3>
#dispatch_count zero 0
#dispatch_once thrice
#dispatch_count thrice 3

#workgroup_count zero 1 1 1
@compute @workgroup_size(1)
fn zero(@builtin(global_invocation_id) id: uint3) {
    runs[0] += 1u;
}

#workgroup_count thrice 1 1 1
@compute @workgroup_size(1)
fn thrice(@builtin(global_invocation_id) id: uint3) {
    runs[1] += 1u;
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let value = runs[id.y * 2u / SCREEN_HEIGHT];
    let lit = float((value >> (id.x * 16u / SCREEN_WIDTH)) & 1u);
    textureStore(screen, int2(id.xy), float4(lit, lit, lit, 1.0));
}
