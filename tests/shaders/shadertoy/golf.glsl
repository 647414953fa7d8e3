void mainImage(out vec4 o, vec2 u) {
    vec2 r = iResolution.xy, p = (u + u - r) / r.y;
    o = vec4(0);
    for (float i = 0., t; i++ < 20.;) {
        t = i * .1 + iTime;
        p = abs(p) / dot(p, p) - .7;
        o += .01 * (cos(t + vec4(0, 1, 2, 3)) + 1.) / length(p);
    }
    o = tanh(o);
}
