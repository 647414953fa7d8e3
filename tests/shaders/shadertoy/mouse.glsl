float line(vec2 p, vec2 a, vec2 b) {
    vec2 pa = p - a, ba = b - a;
    float h = clamp(dot(pa, ba) / dot(ba, ba), 0.0, 1.0);
    return length(pa - ba * h);
}

void mainImage(out vec4 fragColor, in vec2 fragCoord) {
    vec2 m = iMouse.xy;
    if (iMouse.z <= 0.0) m = iResolution.xy * (0.5 + 0.3 * vec2(cos(iTime), sin(iTime)));
    float d = line(fragCoord, iResolution.xy * 0.5, m);
    float clock = mod(iDate.w, 60.0) / 60.0;
    fragColor = vec4(smoothstep(3.0, 1.0, d), clock, float(iFrame & 255) / 255.0, 1.0) + vec4(iTimeDelta, iFrameRate, iSampleRate, gl_FragCoord.x) * 1e-6;
}
