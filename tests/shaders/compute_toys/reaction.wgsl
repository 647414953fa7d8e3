// Gray and Scott's reaction and diffusion of two substances, four steps a frame in pass textures of 32-bit floats.
#define FEED 0.037
#define KILL 0.06
#dispatch_count react 4

fn at(p: int2) -> float2 {
    let size = int2(SCREEN_WIDTH, SCREEN_HEIGHT);
    return passLoad(0, (p + size) % size, 0).xy;
}

@compute @workgroup_size(16, 16)
fn react(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let p = int2(id.xy);
    if (time.frame == 0u && dispatch.id == 0u) {
        let middle = abs(p - int2(SCREEN_WIDTH, SCREEN_HEIGHT) / 2);
        let drop = middle.x + 2 * middle.y < 14;
        passStore(0, p, float4(select(float2(1.0, 0.0), float2(0.5, 0.5), drop), 0.0, 0.0));
        return;
    }
    let here = at(p);
    let sides = at(p + int2(1, 0)) + at(p - int2(1, 0)) + at(p + int2(0, 1)) + at(p - int2(0, 1));
    let corners = at(p + int2(1, 1)) + at(p - int2(1, 1)) + at(p + int2(1, -1)) + at(p + int2(-1, 1));
    let spread = 0.2 * sides + 0.05 * corners - here;
    let reaction = here.x * here.y * here.y;
    let next = here + float2(1.0, 0.5) * spread + float2(-reaction + FEED * (1.0 - here.x), reaction - (FEED + KILL) * here.y);
    passStore(0, p, float4(next, 0.0, 0.0));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let v = at(int2(id.xy)).y;
    textureStore(screen, int2(id.xy), float4(v * float3(1.2, 2.2, 3.0), 1.0));
}
