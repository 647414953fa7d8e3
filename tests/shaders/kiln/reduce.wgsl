// Workgroup memory: every tile of 16 × 16 finds the brightest of its pixels and is painted in its colour, left; right is what it saw.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var channel0: texture_2d<f32>;

var<workgroup> brightest: array<vec4f, 256>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) index: u32) {
    let size = textureDimensions(output);
    let here = textureLoad(channel0, (id.xy / 2u) % textureDimensions(channel0), 0).rgb;
    brightest[index] = vec4f(here, dot(here, vec3f(0.2126, 0.7152, 0.0722)));
    for (var stride = 128u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if index < stride && brightest[index + stride].w > brightest[index].w {
            brightest[index] = brightest[index + stride];
        }
    }
    workgroupBarrier();
    let color = select(here, brightest[0].rgb, id.x < size.x / 2u);
    textureStore(output, id.xy, vec4f(color, 1.0));
}
