// Sizes of open arrays: `pixels` has an element for every pixel, `sized` as many bytes as the job says, behind a head of its own. Bits,
// row by row: both lengths, and the last elements after a write.
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
struct Sized { head: vec4u, tail: array<vec2u> }
@group(0) @binding(2) var<storage, read_write> sized: Sized;

@compute @workgroup_size(1)
fn fill() {
    sized.head = vec4u(arrayLength(&pixels), arrayLength(&sized.tail), 0u, 0u);
    pixels[arrayLength(&pixels) - 1u] = 0xabcdu;
    sized.tail[arrayLength(&sized.tail) - 1u].y = 0x1234u;
}

@compute @workgroup_size(8, 8)
fn show(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let rows = array<u32, 4>(
        sized.head.x, sized.head.y, pixels[arrayLength(&pixels) - 1u], sized.tail[arrayLength(&sized.tail) - 1u].y,
    );
    let lit = (rows[id.y * 4u / size.y] >> (id.x * 16u / size.x)) & 1u;
    textureStore(output, id.xy, vec4f(vec3f(f32(lit)), 1.0));
}
