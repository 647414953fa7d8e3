// Hash without sine: hashNM gives N numbers in [0, 1) from M numbers. Formulas: David Hoskins, "Hash without Sine", 2014,
// shadertoy.com/view/4djSRW.

fn hash11(hash_x: f32) -> f32 {
    let hash_a = fract(hash_x * 0.1031);
    let hash_b = hash_a * (hash_a + 33.33);
    return fract(hash_b * (hash_b + hash_b));
}

fn hash12(hash_x: vec2<f32>) -> f32 {
    let hash_a = fract(hash_x.xyx * 0.1031);
    let hash_b = hash_a + dot(hash_a, hash_a.yzx + 33.33);
    return fract((hash_b.x + hash_b.y) * hash_b.z);
}

fn hash13(hash_x: vec3<f32>) -> f32 {
    let hash_a = fract(hash_x * 0.1031);
    let hash_b = hash_a + dot(hash_a, hash_a.zyx + 31.32);
    return fract((hash_b.x + hash_b.y) * hash_b.z);
}

fn hash21(hash_x: f32) -> vec2<f32> {
    return hash23(vec3<f32>(hash_x));
}

fn hash22(hash_x: vec2<f32>) -> vec2<f32> {
    return hash23(hash_x.xyx);
}

fn hash23(hash_x: vec3<f32>) -> vec2<f32> {
    let hash_a = fract(hash_x * vec3<f32>(0.1031, 0.1030, 0.0973));
    let hash_b = hash_a + dot(hash_a, hash_a.yzx + 33.33);
    return fract((hash_b.xx + hash_b.yz) * hash_b.zy);
}

fn hash31(hash_x: f32) -> vec3<f32> {
    let hash_a = fract(vec3<f32>(hash_x) * vec3<f32>(0.1031, 0.1030, 0.0973));
    let hash_b = hash_a + dot(hash_a, hash_a.yzx + 33.33);
    return fract((hash_b.xxy + hash_b.yzz) * hash_b.zyx);
}

fn hash32(hash_x: vec2<f32>) -> vec3<f32> {
    let hash_a = fract(hash_x.xyx * vec3<f32>(0.1031, 0.1030, 0.0973));
    let hash_b = hash_a + dot(hash_a, hash_a.yxz + 33.33);
    return fract((hash_b.xxy + hash_b.yzz) * hash_b.zyx);
}

fn hash33(hash_x: vec3<f32>) -> vec3<f32> {
    let hash_a = fract(hash_x * vec3<f32>(0.1031, 0.1030, 0.0973));
    let hash_b = hash_a + dot(hash_a, hash_a.yxz + 33.33);
    return fract((hash_b.xxy + hash_b.yxx) * hash_b.zyx);
}

fn hash41(hash_x: f32) -> vec4<f32> {
    return hash44(vec4<f32>(hash_x));
}

fn hash42(hash_x: vec2<f32>) -> vec4<f32> {
    return hash44(hash_x.xyxy);
}

fn hash43(hash_x: vec3<f32>) -> vec4<f32> {
    return hash44(hash_x.xyzx);
}

fn hash44(hash_x: vec4<f32>) -> vec4<f32> {
    let hash_a = fract(hash_x * vec4<f32>(0.1031, 0.1030, 0.0973, 0.1099));
    let hash_b = hash_a + dot(hash_a, hash_a.wzxy + 33.33);
    return fract((hash_b.xxyz + hash_b.yzzw) * hash_b.zywx);
}
