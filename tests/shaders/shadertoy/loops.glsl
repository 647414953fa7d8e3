// for, while, do, break, continue, nested and with several variables: the steps of Collatz' sequence for every pixel's number.
int collatz(int n) {
    int steps = 0;
    while (true) {
        if (n <= 1) break;
        if ((n & 1) == 0) { n /= 2; steps++; continue; }
        n = 3 * n + 1;
        steps++;
    }
    return steps;
}

int digits(int n) {
    int sum = 0;
    do { sum += n % 10; n /= 10; } while (n > 0);
    return sum;
}

void mainImage(out vec4 color, in vec2 position) {
    ivec2 p = ivec2(position) / 2;
    int n = 1 + p.x + 48 * p.y;
    int primes = 0;
    for (int i = 2, found = 0; i < 40 && found < 12; i++) {
        bool prime = true;
        for (int j = 2; j * j <= i; ++j) if (i % j == 0) { prime = false; break; }
        if (!prime) continue;
        found++;
        if (n % i == 0) primes++;
    }
    color = vec4(float(collatz(n)) / 130.0, float(digits(n)) / 24.0, float(primes) / 4.0, 1.0);
}
