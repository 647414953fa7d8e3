// Rays against the scene: compressed wide BVHs (Ylitie, Karras and Laine 2017, "Efficient Incoherent Ray Traversal on GPUs Through
// Compressed Wide BVHs"): a TLAS over instances and one BLAS a mesh, walked in one loop with one stack, or one flat tree over all
// triangles in world space where the meshes are placed about once.
//
// Deviations from the paper: planes are stored as `obvhs` has them (all minima of an axis, then all maxima), and a node's triangles are
// tested at once instead of being postponed, which needs no votes between invocations.
//
// Single-sided surfaces have no back face here, for every kind of ray: as in a rasteriser that culls, which is what glTF asks for.

import package::lib::bindings::{nodes, triangles, instances, materials, params};
import package::lib::features::{FLAT, ALPHA};
import package::lib::surface::{triangle_vertices, weights, interpolate_attributes, base_color, opacity, crossing_number};
import package::lib::types::{Hit, NONE, INSTANCE_MIRRORED, INSTANCE_ALPHA, INSTANCE_DOUBLE_SIDED};

/// Node groups that can wait at once. The host compares it with the depth of the scene's trees.
const STACK_ENTRIES: u32 = 32u;

/// Everything about a ray that node tests need, in the space of the tree that is being walked.
struct WalkRay {
    origin: vec3f,
    direction: vec3f,
    /// Reciprocal of `direction`, finite.
    inverse: vec3f,
    /// The octant of `direction`, in each byte: 7 − (bits of negative axes).
    octant: u32,
}

fn walk_ray(origin: vec3f, direction: vec3f) -> WalkRay {
    // A component of zero would make 0 × ∞ where the origin lies on a plane.
    let tiny = abs(direction) < vec3f(1.0e-18);
    let safe = select(direction, select(vec3f(1.0e-18), vec3f(-1.0e-18), direction < vec3f(0.0)), tiny);
    let octant = select(0x04040404u, 0u, direction.x < 0.0)
        | select(0x02020202u, 0u, direction.y < 0.0)
        | select(0x01010101u, 0u, direction.z < 0.0);
    return WalkRay(origin, direction, 1.0 / safe, octant);
}

/// Four bytes as numbers.
fn bytes_to_f32(word: u32) -> vec4f {
    return vec4f(vec4i(vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(0xffu)));
}

/// Tests four children: returns their bits of the hit mask.
fn test_children(
    meta4: u32, octant: u32, t_max: f32,
    scale: vec3f, base: vec3f, near_x: u32, far_x: u32, near_y: u32, far_y: u32, near_z: u32, far_z: u32,
) -> u32 {
    let t_near = max(
        max(bytes_to_f32(near_x) * scale.x + base.x, bytes_to_f32(near_y) * scale.y + base.y),
        max(bytes_to_f32(near_z) * scale.z + base.z, vec4f(0.0)),
    );
    let t_far = min(
        min(bytes_to_f32(far_x) * scale.x + base.x, bytes_to_f32(far_y) * scale.y + base.y),
        min(bytes_to_f32(far_z) * scale.z + base.z, vec4f(t_max)),
    );
    // Rounding must not open cracks between boxes that touch (Ize 2013, "Robust BVH Ray Traversal", adapted).
    let hit = t_near <= t_far * 1.000001;

    // Listing 1 of the paper, "SIGN EXTEND" included: inner children go to bits 24 … 31 in octant order, triangles to bits 0 … 23.
    let inner = (meta4 & (meta4 << 1u)) & 0x10101010u;
    let inner_mask = (inner >> 4u) * 0xffu;
    let bit_index = (meta4 ^ (octant & inner_mask)) & 0x1f1f1f1fu;
    let child_bits = (meta4 >> 5u) & 0x07070707u;
    let bits = vec4u(child_bits, child_bits >> 8u, child_bits >> 16u, child_bits >> 24u) & vec4u(0xffu);
    let shifts = vec4u(bit_index, bit_index >> 8u, bit_index >> 16u, bit_index >> 24u) & vec4u(0xffu);
    let masks = select(vec4u(0u), bits << shifts, hit);
    return masks.x | masks.y | masks.z | masks.w;
}

/// A node's answer: groups of children and of triangles, each (base index, mask).
struct NodeGroups {
    children: vec2u,
    leaves: vec2u,
}

fn test_node(index: u32, ray: WalkRay, t_max: f32) -> NodeGroups {
    let n0 = nodes[5u * index];
    let n1 = nodes[5u * index + 1u];
    let n2 = nodes[5u * index + 2u];
    let n3 = nodes[5u * index + 3u];
    let n4 = nodes[5u * index + 4u];
    let exponents = vec3u(n0.w, n0.w >> 8u, n0.w >> 16u) & vec3u(0xffu);
    let scale = bitcast<vec3f>(exponents << vec3u(23u)) * ray.inverse;
    let base = (bitcast<vec3f>(n0.xyz) - ray.origin) * ray.inverse;
    // Minima are in xy, maxima in zw; a ray that runs backwards meets the maximum first.
    let x = select(n2, n2.zwxy, ray.direction.x < 0.0);
    let y = select(n3, n3.zwxy, ray.direction.y < 0.0);
    let z = select(n4, n4.zwxy, ray.direction.z < 0.0);
    let mask = test_children(n1.z, ray.octant, t_max, scale, base, x.x, x.z, y.x, y.z, z.x, z.z)
        | test_children(n1.w, ray.octant, t_max, scale, base, x.y, x.w, y.y, y.w, z.y, z.w);
    return NodeGroups(vec2u(n1.x, (mask & 0xff000000u) | (n0.w >> 24u)), vec2u(n1.y, mask & 0x00ffffffu));
}

/// Finds the nearest hit in (0, t_max), or with `any_hit` some hit. `ray_seed` decides which blended surfaces are there.
fn traverse(origin: vec3f, direction: vec3f, t_end: f32, ray_seed: u32, any_hit: bool) -> Hit {
    var hit = Hit(NONE, NONE, vec2f(0.0));
    var t_max = t_end;
    var stack: array<vec2u, STACK_ENTRIES>;
    var depth = 0u;

    let ray_world = walk_ray(origin, direction);
    var ray = ray_world;
    var children = vec2u(params.root_node, 0x80000000u);
    var leaves = vec2u(0u);
    // The instance whose BLAS is being walked, and how deep the stack was when it was entered.
    var instance = NONE;
    var instance_flags = 0u;
    var instance_depth = 0u;

    loop {
        // 1. The nearest child of the current group, by octant.
        if (children.y & 0xff000000u) != 0u {
            let bit = firstLeadingBit(children.y);
            let slot = (bit - 24u) ^ (ray.octant & 7u);
            let node = children.x + countOneBits(children.y & ~(0xffffffffu << slot));
            children.y &= ~(1u << bit);
            if (children.y & 0xff000000u) != 0u {
                stack[depth] = children;
                depth += 1u;
            }
            let groups = test_node(node, ray, t_max);
            children = groups.children;
            leaves = groups.leaves;
        }

        // 2. Its triangles …
        if FLAT || instance != NONE {
            loop {
                if leaves.y != 0u {
                    let bit = firstLeadingBit(leaves.y);
                    leaves.y &= ~(1u << bit);
                    let triangle = leaves.x + bit;
                    let v0 = triangles[3u * triangle];
                    let e1 = triangles[3u * triangle + 1u];
                    let e2 = triangles[3u * triangle + 2u];
                    // Möller and Trumbore 1997. `determinant` is positive where the ray meets the front.
                    let p = cross(ray.direction, e2.xyz);
                    let determinant = dot(e1.xyz, p);
                    let reciprocal = 1.0 / determinant;
                    let s = ray.origin - v0.xyz;
                    let u = dot(s, p) * reciprocal;
                    let q = cross(s, e1.xyz);
                    let v = dot(ray.direction, q) * reciprocal;
                    let t = dot(e2.xyz, q) * reciprocal;
                    // Where the tree is flat, a triangle says itself what it is part of.
                    var flags = instance_flags;
                    if FLAT {
                        flags = bitcast<u32>(v0.w) >> 29u;
                    }
                    // A mirrored front is seen as a back, unless the ray was mirrored too.
                    let mirrored = FLAT && (flags & INSTANCE_MIRRORED) != 0u;
                    let facing = ((determinant > 0.0) != mirrored) || (flags & INSTANCE_DOUBLE_SIDED) != 0u;
                    // A degenerate triangle makes NaN or infinity here, and every comparison fails.
                    var met = facing && u >= 0.0 && v >= 0.0 && u + v <= 1.0 && t > 0.0 && t < t_max;
                    var met_instance = instance;
                    var met_triangle = triangle;
                    if FLAT {
                        met_instance = bitcast<u32>(v0.w) & 0x1fffffffu;
                        met_triangle = bitcast<u32>(e1.w);
                    }
                    if ALPHA {
                        if met && (flags & INSTANCE_ALPHA) != 0u {
                            met = is_there(met_instance, met_triangle, vec2f(u, v), ray_seed);
                        }
                    }
                    if met {
                        t_max = t;
                        hit = Hit(met_instance, met_triangle, vec2f(u, v));
                        if any_hit {
                            leaves.y = 0u;
                        }
                    }
                }
                if leaves.y == 0u {
                    break;
                }
            }
            if any_hit && hit.instance != NONE {
                break;
            }
        } else if leaves.y != 0u {
            // … or, in the TLAS, one of its instances: the rest waits on the stack.
            let bit = firstLeadingBit(leaves.y);
            leaves.y &= ~(1u << bit);
            instance = leaves.x + bit;
            if (children.y & 0xff000000u) != 0u {
                stack[depth] = children;
                depth += 1u;
            }
            if leaves.y != 0u {
                stack[depth] = leaves;
                depth += 1u;
            }
            leaves.y = 0u;
            instance_depth = depth;
            instance_flags = instances[instance].flags;
            children = vec2u(instances[instance].root_node, 0x80000000u);
            ray = ray_in_object(ray_world, instance);
        }

        // 3. Nothing left here: back to what waits.
        if (children.y & 0xff000000u) == 0u {
            if !FLAT && instance != NONE && depth == instance_depth {
                instance = NONE;
                ray = ray_world;
            }
            if depth == 0u {
                break;
            }
            depth -= 1u;
            let group = stack[depth];
            // A waiting group holds either children or, from the TLAS, instances.
            let inner = (group.y & 0xff000000u) != 0u;
            children = select(vec2u(0u), group, inner);
            leaves = select(group, vec2u(0u), inner);
        }
    }
    return hit;
}

fn ray_in_object(ray: WalkRay, instance: u32) -> WalkRay {
    let r0 = instances[instance].object_from_world[0];
    let r1 = instances[instance].object_from_world[1];
    let r2 = instances[instance].object_from_world[2];
    // The direction keeps its length in world space, so that t means the same in every space.
    let direction = vec3f(dot(r0.xyz, ray.direction), dot(r1.xyz, ray.direction), dot(r2.xyz, ray.direction));
    let origin = vec3f(dot(r0.xyz, ray.origin) + r0.w, dot(r1.xyz, ray.origin) + r1.w, dot(r2.xyz, ray.origin) + r2.w);
    return walk_ray(origin, direction);
}

/// Whether a surface with alpha is there for this ray.
fn is_there(instance: u32, triangle: u32, barycentrics: vec2f, ray_seed: u32) -> bool {
    let material = materials[instances[instance].material];
    let a = interpolate_attributes(triangle_vertices(triangle), weights(barycentrics), instances[instance].flags);
    return crossing_number(ray_seed, instance, triangle) < opacity(material, base_color(material, a).a);
}
