// Structs with arrays, out and inout parameters, overloading, constant arrays: a small rainbow of bouncing balls.
struct Ball {
    vec2 center;
    float radius;
    vec3 color;
};

const int COUNT = 5;
const vec3 COLORS[COUNT] = vec3[COUNT](vec3(0.9, 0.2, 0.1), vec3(0.9, 0.6, 0.1), vec3(0.3, 0.8, 0.2), vec3(0.1, 0.5, 0.9), vec3(0.6, 0.2, 0.8));

struct Scene { Ball balls[COUNT]; int count; };

void add(inout Scene scene, Ball ball) {
    scene.balls[scene.count] = ball;
    scene.count++;
}

float coverage(vec2 p, Ball ball) { return smoothstep(1.0, -1.0, length(p - ball.center) - ball.radius); }
float coverage(vec2 p, float ground) { return smoothstep(0.5, -0.5, p.y - ground); }

void build(out Scene scene) {
    scene.count = 0;
    for (int i = 0; i < COUNT; i++) {
        float phase = iTime * 2.0 + float(i) * 0.7;
        vec2 center = vec2(12.0 + 18.0 * float(i), 12.0 + 36.0 * abs(sin(phase)));
        add(scene, Ball(center, 6.0 + float(i), COLORS[i]));
    }
}

void mainImage(out vec4 color, in vec2 position) {
    Scene scene;
    build(scene);
    color = vec4(0.9, 0.95, 1.0, 1.0);
    color.rgb = mix(color.rgb, vec3(0.2, 0.25, 0.2), coverage(position, 4.0));
    for (int i = 0; i < scene.count; i++) color.rgb = mix(color.rgb, scene.balls[i].color, coverage(position, scene.balls[i]));
}
