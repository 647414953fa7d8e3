// #calcdefine is arithmetic before compilation, and may redefine. A column for every rule, green where it holds.
#calcdefine A 7/2
#calcdefine B 7.0/2
#calcdefine C 2^3^2
#calcdefine D -7%4
#calcdefine E sqrt(16)+0.25
#calcdefine F max(3,5)<<2
#calcdefine G 1
#calcdefine G G+G
#calcdefine G G*G+1
#calcdefine H select(10,20,1)
#calcdefine I round(-2.5)
#calcdefine J floor(SCREEN_WIDTH/7)
#calcdefine K mix(1.0,3.0,0.25)
#calcdefine L (0x10+1)*2

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    // Whole numbers divide as whole numbers; one real number makes all real; a power binds to the right; a remainder has the sign of
    // the dividend; a later definition sees the earlier one; halves round up, also below zero.
    var rules = array<bool, 12>(
        A == 3, B == 3.5, C == 512, D == -3, E == 4.25, F == 20, G == 5, H == 20, I == -2.0, J == 13.0, K == 1.5, L == 34,
    );
    let holds = rules[id.x * 12u / SCREEN_WIDTH];
    textureStore(screen, int2(id.xy), select(float4(1.0, 0.0, 0.0, 1.0), float4(0.0, 1.0, 0.0, 1.0), holds));
}
