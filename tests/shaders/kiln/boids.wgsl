// 24 points steer towards their common middle and away from each other, by two buffers and three passes; trails fade in `previous`.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var previous: texture_2d<f32>;
struct Boid { position: vec2f, velocity: vec2f }
@group(0) @binding(2) var<storage, read_write> boids: array<Boid, 24>;
@group(0) @binding(3) var<storage, read_write> next: array<Boid, 24>;
struct Frame { index: u32, delta: f32 }
@group(0) @binding(4) var<uniform> frame: Frame;

@compute @workgroup_size(24)
fn steer(@builtin(local_invocation_index) i: u32) {
    var boid = boids[i];
    if frame.index == 0u {
        let turn = f32(i) * 2.3999632;
        boid = Boid(vec2f(48.0, 32.0) + 4.0 * sqrt(f32(i)) * vec2f(cos(turn), sin(turn)), 12.0 * vec2f(-sin(turn), cos(turn)));
    }
    var middle = vec2f(0.0);
    var away = vec2f(0.0);
    for (var j = 0u; j < 24u; j++) {
        let offset = boids[j].position - boid.position;
        middle += boids[j].position / 24.0;
        if j != i { away -= offset / (dot(offset, offset) + 4.0); }
    }
    if frame.index > 0u { boid.velocity += frame.delta * ((middle - boid.position) * 1.5 + away * 20.0); }
    boid.position += boid.velocity * frame.delta;
    next[i] = boid;
}

@compute @workgroup_size(24)
fn settle(@builtin(local_invocation_index) i: u32) {
    boids[i] = next[i];
}

@compute @workgroup_size(16, 16)
fn draw(@builtin(global_invocation_id) id: vec3u) {
    let p = vec2f(id.xy) + 0.5;
    var light = textureLoad(previous, id.xy, 0).rgb * vec3f(0.85, 0.9, 0.96);
    for (var i = 0u; i < 24u; i++) {
        let d = distance(p, boids[i].position);
        light = max(light, smoothstep(1.6, 0.6, d) * vec3f(1.0, 0.8, 0.5));
    }
    textureStore(output, id.xy, vec4f(light, 1.0));
}
