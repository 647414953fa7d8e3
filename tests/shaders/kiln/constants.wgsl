// Constants, module-scope arrays, private variables, a switch, swizzles and bit operations: a small palette of tiles.
const COLUMNS = 6u;
const ROWS = 4u;
const PALETTE = array<vec3f, 4>(vec3f(0.9, 0.3, 0.2), vec3f(0.2, 0.6, 0.9), vec3f(0.95, 0.8, 0.3), vec3f(0.2, 0.7, 0.4));
const_assert COLUMNS * ROWS == 24u;
var<private> visited: u32;
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;

fn inside(kind: u32, p: vec2f) -> bool {
    visited += 1u;
    switch kind {
        case 0u: { return length(p) < 0.8; }
        case 1u: { return max(abs(p.x), abs(p.y)) < 0.7; }
        case 2u: { return abs(p.x) + abs(p.y) < 0.9; }
        case 3u, 4u: { return abs(p.x * p.y) < 0.08; }
        default: { return p.y > abs(p.x) * 1.6 - 0.7 && p.y < 0.6; }
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let cell = vec2u(id.x * COLUMNS / size.x, id.y * ROWS / size.y);
    let p = fract(vec2f(id.xy) / vec2f(size) * vec2f(f32(COLUMNS), f32(ROWS))) * 2.0 - 1.0;
    let kind = (cell.x + 2u * cell.y) % 6u;
    let ink = PALETTE[(countOneBits(cell.x) + cell.y) % 4u];
    let painted = inside(kind, p) != inside(5u - kind, p.yx * 3.0);
    let color = select(vec3f(0.96, 0.94, 0.9), ink, painted) * select(0.0, 1.0, visited == 2u);
    textureStore(output, id.xy, vec4f(color.rgb, 1.0));
}
