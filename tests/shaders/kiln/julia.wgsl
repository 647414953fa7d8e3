// The same set as in the other dialects, by params: a helper that returns a struct, a pointer, and a loop with `continuing`.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
struct Params { c: vec2f, iterations: u32 }
@group(0) @binding(1) var<uniform> params: Params;

struct Escape { count: u32, distance: f32 }

fn square(z: ptr<function, vec2f>) {
    *z = vec2f((*z).x * (*z).x - (*z).y * (*z).y, 2.0 * (*z).x * (*z).y);
}

fn escape(start: vec2f) -> Escape {
    var z = start;
    var count = 0u;
    loop {
        if count == params.iterations || dot(z, z) > 64.0 { break; }
        square(&z);
        z += params.c;
        continuing { count++; }
    }
    return Escape(count, length(z));
}

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let p = (2.0 * vec2f(id.xy) - vec2f(size)) / f32(size.y) * 1.1;
    let found = escape(p);
    let smooth_count = f32(found.count) - log2(max(log2(max(found.distance, 1.0)), 1.0));
    let shade = clamp(smooth_count / f32(params.iterations), 0.0, 1.0);
    textureStore(output, id.xy, vec4f(shade * shade, shade, sqrt(shade), 1.0));
}
