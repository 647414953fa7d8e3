// The mouse paints while its button is down: a line from where it was to where it is, and a ring where it went down last. The lowest
// rows are bits: position, start and delta, and whether the button is down.

fn to_segment(p: float2, a: float2, b: float2) -> float {
    let along = b - a;
    let h = clamp(dot(p - a, along) / max(dot(along, along), 1e-6), 0.0, 1.0);
    return distance(p, a + h * along);
}

fn number(row: u32) -> int {
    switch row {
        case 0u: { return mouse.pos.x * 256 + mouse.pos.y; }
        case 1u: { return mouse.start.x * 256 + mouse.start.y; }
        case 2u: { return (mouse.delta.x + 64) * 256 + mouse.delta.y + 64; }
        default: { return mouse.click * 256 + int(mouse.zoom * 16.0); }
    }
}

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let at = int2(id.xy);
    if (id.y >= 48u) {
        let lit = float((number((id.y - 48u) / 4u) >> (id.x * 16u / SCREEN_WIDTH)) & 1);
        textureStore(screen, at, float4(lit, lit, lit, 1.0));
        return;
    }
    let p = float2(at);
    let painted = passLoad(0, at, 0).x;
    let brush = smoothstep(2.5, 1.0, to_segment(p, float2(mouse.pos - mouse.delta), float2(mouse.pos)));
    let paint = max(painted, brush * float(mouse.click));
    passStore(0, at, float4(paint));
    let ring = smoothstep(1.5, 0.5, abs(distance(p, float2(mouse.start)) - 5.0));
    textureStore(screen, at, float4(paint, ring, 0.15, 1.0));
}
