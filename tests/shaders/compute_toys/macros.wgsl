// Macros replace words once, and a value is expanded where it is defined. A column for every rule, green where it holds.
#define ONE 1
#define TWO ONE + ONE
#define PRODUCT TWO * 3
#define EARLY 5
#define red float4(1.0, 0.0, 0.0, 1.0)
#define green float4(0.0, 1.0, 0.0, 1.0)
#define EMPTY
#define e3 0
#define SELF SELF_SUFFIX

const SELF = 9;
fn unsuffixed(SELF: int) -> int { return SELF EMPTY; }

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var rules = array<bool, 6>(
        PRODUCT == 4,        // 1 + 1 * 3: text, not a value.
        TWO * 2 == 3,        // 1 + 1 * 2
        SELF_SUFFIX == 9,
        unsuffixed(4) == 4,
        EARLY == 5,
        1e3 == 10,           // A word begins at any letter: 1e3 holds the word e3, and becomes 10.
    );
    let holds = rules[id.x * 6u / SCREEN_WIDTH];
    textureStore(screen, int2(id.xy), select(red, green, holds)); /* red and green are replaced here, too */
}
