// The preprocessor: macros with arguments over several lines, nested, undefined again, conditionals. A column for every rule, green
// where it holds.
#define SQUARE(x) ((x) * (x))
#define SUM_OF_SQUARES(a, b) (SQUARE(a) + \
                              SQUARE(b))
#define TIMES_TWO(x) x * 2
#define CHANGED 1
#undef CHANGED
#define CHANGED 2
#define HAS(feature) (feature == 1)
#define FEATURE 1
#if defined(FEATURE) && FEATURE == 1 && !defined(MISSING)
const bool RULE_D = true;
#elif FEATURE == 2
const bool RULE_D = false;
#else
#error never reached
#endif
#ifndef MISSING
#  if (1 << 3) > 7 || MISSING
const bool RULE_E = true;
#  endif
#endif

void mainImage(out vec4 color, in vec2 position) {
    int column = int(position.x / iResolution.x * 6.0);
    bool holds = false;
    if (column == 0) holds = SUM_OF_SQUARES(3, 1 + 3) == 25;
    else if (column == 1) holds = TIMES_TWO(1 + 1) == 3;
    else if (column == 2) holds = CHANGED == 2;
    else if (column == 3) holds = RULE_D;
    else if (column == 4) holds = RULE_E;
    else holds = HAS(FEATURE) && __VERSION__ == 300;
    color = holds ? vec4(0.0, 1.0, 0.0, 1.0) : vec4(1.0, 0.0, 0.0, 1.0);
}
