enable subgroups;
// Subgroup operations whose results do not depend on the size of a subgroup: the maximum of a constant, a ballot of
// all, the lowest number of a lane.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(subgroup_size) lanes: u32,
        @builtin(subgroup_invocation_id) lane: u32) {
    let size = textureDimensions(output);
    let pixel = vec2u(id.x % size.x, id.x / size.x);
    let top = subgroupMax(3.0);
    let lowest = subgroupMin(lane);
    let ballot = subgroupBallot(true);
    let all_in = countOneBits(ballot.x) + countOneBits(ballot.y) + countOneBits(ballot.z) + countOneBits(ballot.w) == lanes;
    let holds = top == 3.0 && lowest == 0u && all_in;
    let shade = f32(pixel.y) / f32(size.y);
    textureStore(output, pixel, select(vec4f(1.0, 0.0, 0.0, 1.0), vec4f(0.1, shade, 0.5, 1.0), holds));
}
