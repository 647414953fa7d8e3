// Simplex noise in three dimensions, about [-1, 1]. The shader brings noise_simplex_3d_hash, from a point of the lattice to [0, 1)³.
// Formulas: Nikita Miropolskiy, "simplex 3d noise", 2013, shadertoy.com/view/XsX3zB; the lattice is shifted by one, as on the site.

fn noise_simplex_3d(p: vec3<f32>) -> f32 {
    let noise_skew = 0.3333333;
    let noise_unskew = 0.1666667;
    let noise_cell = floor(p + dot(p, vec3<f32>(noise_skew)));
    let noise_from_first = p - noise_cell + dot(noise_cell, vec3<f32>(noise_unskew));
    // Which tetrahedron of the cell: the order of the coordinates.
    let noise_order = step(vec3<f32>(0.0), noise_from_first - noise_from_first.yzx);
    let noise_second = noise_order * (1.0 - noise_order.zxy);
    let noise_third = 1.0 - noise_order.zxy * (1.0 - noise_order);
    let noise_from_second = noise_from_first - noise_second + noise_unskew;
    let noise_from_third = noise_from_first - noise_third + 2.0 * noise_unskew;
    let noise_from_fourth = noise_from_first - 1.0 + 3.0 * noise_unskew;
    let noise_distances = vec4<f32>(
        dot(noise_from_first, noise_from_first),
        dot(noise_from_second, noise_from_second),
        dot(noise_from_third, noise_from_third),
        dot(noise_from_fourth, noise_from_fourth),
    );
    let noise_fade = max(0.6 - noise_distances, vec4<f32>(0.0));
    let noise_fade_squared = noise_fade * noise_fade;
    let noise_slopes = vec4<f32>(
        dot(noise_simplex_3d_hash(noise_cell + 1.0) - 0.5, noise_from_first),
        dot(noise_simplex_3d_hash(noise_cell + 1.0 + noise_second) - 0.5, noise_from_second),
        dot(noise_simplex_3d_hash(noise_cell + 1.0 + noise_third) - 0.5, noise_from_third),
        dot(noise_simplex_3d_hash(noise_cell + 2.0) - 0.5, noise_from_fourth),
    );
    return dot(noise_slopes * (noise_fade_squared * noise_fade_squared), vec4<f32>(52.0));
}
