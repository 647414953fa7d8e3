// The elementary automaton of rule 110: every frame keeps the rows of `previous` and adds one generation below them.
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(1) var previous: texture_2d<f32>;
struct Frame { index: u32, resolution: vec2u }
@group(0) @binding(2) var<uniform> frame: Frame;

fn alive(x: u32, y: u32) -> u32 {
    let size = frame.resolution;
    return u32(textureLoad(previous, vec2u(x % size.x, y), 0).x > 0.5);
}

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = frame.resolution;
    if any(id.xy >= size) { return; }
    var cell = 0u;
    if id.y < frame.index {
        cell = alive(id.x, id.y);
    } else if id.y == frame.index {
        if id.y == 0u {
            cell = u32(id.x == size.x - 1u);
        } else {
            let above = id.y - 1u;
            let code = 4u * alive(id.x + size.x - 1u, above) + 2u * alive(id.x, above) + alive(id.x + 1u, above);
            cell = (110u >> code) & 1u;
        }
    }
    textureStore(output, id.xy, vec4f(f32(cell), f32(cell), f32(cell), 1.0));
}
