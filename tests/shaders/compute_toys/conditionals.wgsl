// Conditionals by the site's rules. Directives inside of a false branch still run: only text is dropped. So BRANCH is defined although
// its branch is false, and redefining it would be an error. Green where a rule holds.
#define THREE 3
#if 0
#define BRANCH 7
let this line = is dropped;
#endif
#ifdef BRANCH
#calcdefine FIRST BRANCH-6
#else
#calcdefine OTHER 1
#endif
#ifndef NEVER_DEFINED
const SECOND = true;
#else
const SECOND = false;
#endif
#if THREE - 3
const THIRD = false;
#else
#if THREE * 2
const THIRD = true;
#endif
#endif
#if THREE && 0
const FOURTH = false;
#else
const FOURTH = true;
#endif
#if 0.0
const FIFTH = false;
#else
const FIFTH = true;
#endif
#ifdef OTHER
const SIXTH = OTHER == 1;
#endif

@compute @workgroup_size(16, 16)
fn main_image(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    var rules = array<bool, 6>(FIRST == 1, SECOND, THIRD, FOURTH, FIFTH, SIXTH);
    let holds = rules[id.x * 6u / SCREEN_WIDTH];
    textureStore(screen, int2(id.xy), select(float4(1.0, 0.0, 0.0, 1.0), float4(0.0, 1.0, 0.0, 1.0), holds));
}
