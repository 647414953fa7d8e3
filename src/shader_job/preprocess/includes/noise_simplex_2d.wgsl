// Simplex noise in two dimensions, about [-1, 1]. The shader brings noise_simplex_2d_hash, from a point of the lattice to [0, 1)².
// Formulas: Inigo Quilez, "Noise - simplex - 2D", 2013, shadertoy.com/view/Msf3WH; the lattice is shifted by one, as on the site.

fn noise_simplex_2d(p: vec2<f32>) -> f32 {
    // The skew to the square lattice, (√3 - 1) / 2, and back, (3 - √3) / 6.
    let noise_skew = 0.366025404;
    let noise_unskew = 0.211324865;
    let noise_cell = floor(p + (p.x + p.y) * noise_skew);
    // From the three corners of the triangle to the point.
    let noise_from_first = p - noise_cell + (noise_cell.x + noise_cell.y) * noise_unskew;
    let noise_second = step(noise_from_first.yx, noise_from_first.xy);
    let noise_from_second = noise_from_first - noise_second + noise_unskew;
    let noise_from_third = noise_from_first - 1.0 + 2.0 * noise_unskew;
    let noise_distances = vec3<f32>(
        dot(noise_from_first, noise_from_first),
        dot(noise_from_second, noise_from_second),
        dot(noise_from_third, noise_from_third),
    );
    let noise_fade = max(0.5 - noise_distances, vec3<f32>(0.0));
    let noise_slopes = vec3<f32>(
        dot(noise_from_first, noise_simplex_2d_hash(noise_cell + 1.0) * 2.0 - 1.0),
        dot(noise_from_second, noise_simplex_2d_hash(noise_cell + 1.0 + noise_second) * 2.0 - 1.0),
        dot(noise_from_third, noise_simplex_2d_hash(noise_cell + 2.0) * 2.0 - 1.0),
    );
    return dot(noise_fade * noise_fade * noise_fade * noise_fade * noise_slopes, vec3<f32>(70.0));
}
