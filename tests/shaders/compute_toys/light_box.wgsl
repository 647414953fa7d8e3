// A light in a box by random paths of two bounces, averaged over the frames in pass textures of 32-bit floats; w counts them.

fn random(state: ptr<function, u32>) -> float {
    *state = *state * 747796405u + 2891336453u;
    let word = ((*state >> ((*state >> 28u) + 4u)) ^ *state) * 277803737u;
    return float(((word >> 22u) ^ word) >> 8u) / 16777216.0;
}

// Distance to the walls of the box [-1, 1]³ from inside, and the wall's normal in the last three.
fn wall(origin: float3, direction: float3) -> float4 {
    let steps = (sign(direction) - origin) / direction;
    let t = min(steps.x, min(steps.y, steps.z));
    let axis = select(select(float3(0.0, 0.0, 1.0), float3(0.0, 1.0, 0.0), t == steps.y), float3(1.0, 0.0, 0.0), t == steps.x);
    return float4(t, -axis * sign(direction));
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var state = id.x + 4096u * id.y + 16777259u * time.frame;
    var sum = passLoad(0, int2(id.xy), 0);
    let jitter = float2(random(&state), random(&state));
    let uv = ((float2(id.xy) + jitter) * 2.0 - float2(float(SCREEN_WIDTH), float(SCREEN_HEIGHT))) / float(SCREEN_HEIGHT);
    var origin = float3(0.0, 0.0, -0.95);
    var direction = normalize(float3(uv.x, -uv.y, 1.0) + 1e-5);
    var throughput = float3(1.0);
    for (var bounce = 0; bounce < 3; bounce++) {
        let hit = wall(origin, direction);
        let p = origin + hit.x * direction;
        if (hit.z < -0.5 && max(abs(p.x), abs(p.z)) < 0.5) {
            sum += float4(throughput * 6.0, 0.0);
            break;
        }
        throughput *= select(select(float3(0.75), float3(0.7, 0.15, 0.1), hit.y > 0.5), float3(0.1, 0.5, 0.15), hit.y < -0.5);
        let turn = 6.2831853 * random(&state);
        let height = 2.0 * random(&state) - 1.0;
        let ball = float3(sqrt(1.0 - height * height) * float2(cos(turn), sin(turn)), height);
        direction = normalize(hit.yzw + ball * 0.999 + 1e-5);
        origin = p + hit.yzw * 1e-3;
    }
    sum.w += 1.0;
    passStore(0, int2(id.xy), sum);
    textureStore(screen, int2(id.xy), float4(sum.rgb / sum.w, 1.0));
}
