// Every alias of the prelude, in one sum that must come out: green if it does.

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let i: int = int(id.x);
    let u: uint = uint(i);
    let f: float = float(u);
    let f2: float2 = float2(f, 1.0);
    let f3: float3 = float3(f2, 1.0);
    let f4: float4 = float4(f3, 1.0);
    let i2 = int2(i, 1);
    let i3 = int3(i2, 1);
    let i4 = int4(i3, 1);
    let u2 = uint2(u, 1u);
    let u3 = uint3(u2, 1u);
    let u4 = uint4(u3, 1u);
    let b4 = bool4(bool3(bool2(true, false), true), false);
    let m22 = float2x2(1.0, 2.0, 3.0, 4.0) * float2(1.0, 1.0);
    let m23 = float2x3(float3(1.0), float3(2.0)) * float2(1.0, 1.0);
    let m24 = float2x4(float4(1.0), float4(2.0)) * float2(1.0, 1.0);
    let m32 = float3x2(float2(1.0), float2(2.0), float2(3.0)) * float3(1.0);
    let m33 = float3x3(float3(1.0), float3(2.0), float3(3.0)) * float3(1.0);
    let m34 = float3x4(float4(1.0), float4(2.0), float4(3.0)) * float3(1.0);
    let m42 = float4x2(float2(1.0), float2(2.0), float2(3.0), float2(4.0)) * float4(1.0);
    let m43 = float4x3(float3(1.0), float3(2.0), float3(3.0), float3(4.0)) * float4(1.0);
    let m44 = float4x4(float4(1.0), float4(2.0), float4(3.0), float4(4.0)) * float4(1.0);
    let matrices = m22.x + m23.x + m24.x + m32.x + m33.x + m34.x + m42.x + m43.x + m44.x;
    let vectors = dot(f4, float4(1.0)) - f + float(i4.y + i4.z + i4.w) + float(u4.y + u4.z + u4.w);
    let holds = matrices == 58.0 && vectors == 9.0 && b4.x && !b4.y && b4.z && !b4.w;
    let shade = 0.2 + 0.8 * float(id.x) / float(SCREEN_WIDTH);
    textureStore(screen, int2(id.xy), select(float4(1.0, 0.0, 0.0, 1.0), float4(0.0, shade, 0.0, 1.0), holds));
}
