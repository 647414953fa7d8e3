// 512 particles in a storage buffer of structs fall, bounce, and are counted into the other buffer by atomics.
#define COUNT 512
struct Particle {
    position: float2,
    velocity: float2,
}
#storage particles array<Particle, COUNT>
#storage density array<atomic<u32>, SCREEN_WIDTH*SCREEN_HEIGHT>
#dispatch_once scatter
#workgroup_count scatter COUNT/64 1 1
#workgroup_count fall COUNT/64 1 1

@compute @workgroup_size(64)
fn scatter(@builtin(global_invocation_id) id: uint3) {
    let turn = float(id.x) * 2.3999632;
    let radius = sqrt(float(id.x) / float(COUNT));
    let disc = radius * float2(cos(turn), sin(turn));
    particles[id.x] = Particle(float2(40.0, 20.0) + 12.0 * disc, float2(60.0, 0.0) + 20.0 * disc);
}

@compute @workgroup_size(16, 16)
fn clear(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    atomicStore(&density[id.y * SCREEN_WIDTH + id.x], 0u);
}

@compute @workgroup_size(64)
fn fall(@builtin(global_invocation_id) id: uint3) {
    var p = particles[id.x];
    p.velocity.y += 90.0 * time.delta;
    p.position += p.velocity * time.delta;
    let top = float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT)) - 1.0;
    let outside = (p.position < float2(0.0)) | (p.position > top);
    p.velocity *= select(float2(1.0), float2(-0.8), outside);
    p.position = clamp(p.position, float2(0.0), top);
    particles[id.x] = p;
    let at = uint2(p.position);
    atomicAdd(&density[at.y * SCREEN_WIDTH + at.x], 1u);
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let n = float(atomicLoad(&density[id.y * SCREEN_WIDTH + id.x]));
    textureStore(screen, int2(id.xy), float4(float3(0.6, 0.35, 0.15) * n + float3(0.0, 0.0, 0.05), 1.0));
}
