//! The trees: whatever the geometry, a traversal finds what looking at every triangle finds.

use glam::{Affine3A, DAffine3, Mat3, Quat, Vec3};
use kiln::limits;
use kiln::scene::bvh::{self, Hit};
use kiln::scene::{Bounds, Instance, Mesh, Scene};

/// A small generator of numbers (PCG, O'Neill 2014): the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        let state = self.0;
        self.0 = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (((state >> 18) ^ state) >> 27) as u32;
        mixed.rotate_right((state >> 59) as u32)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 24) as f32
    }

    /// In [−1, 1) on each axis.
    fn cube(&mut self) -> Vec3 {
        Vec3::new(self.unit(), self.unit(), self.unit()) * 2.0 - 1.0
    }
}

fn mesh(triangles: Vec<[Vec3; 3]>) -> Mesh {
    let mut mesh = Mesh {
        triangles: (0..triangles.len() as u32).map(|t| [t * 3, t * 3 + 1, t * 3 + 2]).collect(),
        positions: triangles.into_iter().flatten().collect(),
        ..Mesh::default()
    };
    for &position in &mesh.positions {
        mesh.bounds.extend(position);
    }
    bvh::build_mesh(&mut mesh);
    mesh
}

fn soup(random: &mut Random, count: usize, size: f32) -> Vec<[Vec3; 3]> {
    (0..count)
        .map(|_| {
            let center = random.cube();
            [(); 3].map(|()| center + random.cube() * size)
        })
        .collect()
}

/// The nearest hit by looking at every triangle.
fn by_brute_force(scene: &Scene, origin: Vec3, direction: Vec3, t_min: f32, t_max: f32) -> Option<Hit> {
    let mut nearest: Option<(f64, Hit)> = None;
    for (index, instance) in scene.instances.iter().enumerate() {
        let matrix = &instance.world_from_object;
        let inverse = DAffine3::from_mat3_translation(
            Mat3::from(matrix.matrix3).as_dmat3(),
            Vec3::from(matrix.translation).as_dvec3(),
        )
        .inverse();
        let (origin, direction) =
            (inverse.transform_point3(origin.as_dvec3()), inverse.transform_vector3(direction.as_dvec3()));
        let mesh = &scene.meshes[instance.mesh as usize];
        for (triangle, corners) in mesh.triangles.iter().enumerate() {
            let corners = corners.map(|vertex| mesh.positions[vertex as usize]);
            let Some((t, u, v)) = bvh::intersect_triangle(corners, origin, direction) else { continue };
            if t >= f64::from(t_min) && t <= f64::from(t_max) && nearest.is_none_or(|(nearest, _)| t < nearest) {
                let hit =
                    Hit { instance: index as u32, triangle: triangle as u32, t: t as f32, u: u as f32, v: v as f32 };
                nearest = Some((t, hit));
            }
        }
    }
    nearest.map(|(_, hit)| hit)
}

fn scene_of(mesh: Mesh) -> Scene {
    scene_of_instances(vec![mesh], vec![Affine3A::IDENTITY])
}

fn scene_of_instances(meshes: Vec<Mesh>, transforms: Vec<Affine3A>) -> Scene {
    let count = meshes.len() as u32;
    let mut scene = Scene { meshes, ..Scene::default() };
    scene.instances = (0..)
        .zip(transforms)
        .map(|(index, world_from_object)| Instance { mesh: index % count, world_from_object, node: index })
        .collect();
    bvh::build_tlas(&mut scene);
    scene
}

/// Rays from around the scene through it, axis-parallel ones among them. Answers how many hit.
fn compare(scene: &Scene, random: &mut Random, rays: usize) -> usize {
    let (center, radius) = (scene.bounds.center(), scene.bounds.max.distance(scene.bounds.min) * 0.5);
    let mut hits = 0;
    for index in 0..rays {
        let origin = center + random.cube() * radius * 2.0;
        let target = center + random.cube() * radius * 0.5;
        let direction = match index % 8 {
            0 => Vec3::X,
            1 => Vec3::NEG_Y,
            2 => Vec3::Z,
            _ => (target - origin).normalize(),
        };
        // Axis-parallel rays start from beside their target, so that some of them hit.
        let origin = if index % 8 < 3 { target - direction * radius * 2.5 } else { origin };
        let expected = by_brute_force(scene, origin, direction, 0.0, f32::INFINITY);
        let found = bvh::intersect(scene, origin, direction, 0.0, f32::INFINITY);
        assert_eq!(found, expected, "ray {index} from {origin} towards {direction}");
        hits += usize::from(found.is_some());
        if let Some(hit) = found {
            // An interval that ends before the hit is empty, one that begins at it is not.
            let before = bvh::intersect(scene, origin, direction, 0.0, hit.t * 0.999);
            assert!(before.is_none_or(|before| before.t < hit.t), "ray {index}: {before:?} before {hit:?}");
        }
    }
    hits
}

#[test]
fn random_soups_are_hit_where_brute_force_hits() {
    for (seed, count, size) in
        [(1, 1, 0.5), (2, 2, 0.5), (3, 3, 0.5), (4, 4, 0.5), (5, 30, 0.3), (6, 700, 0.1), (7, 3000, 0.02)]
    {
        let mut random = Random(seed);
        let scene = scene_of(mesh(soup(&mut random, count, size)));
        let hits = compare(&scene, &mut random, 300);
        assert!(count < 30 || hits > 20, "{count} triangles were hit only {hits} times");
    }
}

#[test]
fn coordinates_of_any_size_are_traced() {
    for exponent in [-15, -9, -3, 4, 9, 15] {
        let scale = 10.0_f32.powi(exponent);
        let mut random = Random(11);
        let triangles =
            soup(&mut random, 400, 0.15).into_iter().map(|triangle| triangle.map(|corner| corner * scale)).collect();
        let scene = scene_of(mesh(triangles));
        let hits = compare(&scene, &mut random, 200);
        assert!(hits > 20, "at 1e{exponent} only {hits} rays hit");
    }
}

#[test]
fn a_small_shape_far_from_the_origin_is_not_lost() {
    let mut random = Random(12);
    let offset = Vec3::new(4.0e5, -3.0e5, 9.0e5);
    let triangles =
        soup(&mut random, 500, 0.2).into_iter().map(|triangle| triangle.map(|corner| corner * 3.0 + offset)).collect();
    let scene = scene_of(mesh(triangles));
    assert!(compare(&scene, &mut random, 300) > 20);
}

#[test]
fn flat_shapes_are_hit_from_their_side_and_never_along_it() {
    for axis in 0..3 {
        let mut random = Random(13 + axis as u64);
        let triangles = soup(&mut random, 600, 0.1)
            .into_iter()
            .map(|triangle| {
                triangle.map(|mut corner| {
                    corner[axis] = 0.25;
                    corner
                })
            })
            .collect();
        let scene = scene_of(mesh(triangles));
        let mut direction = Vec3::ZERO;
        direction[axis] = 1.0;
        let mut hits = 0;
        for _ in 0..300 {
            let mut origin = random.cube();
            origin[axis] = -1.0;
            let found = bvh::intersect(&scene, origin, direction, 0.0, 10.0);
            assert_eq!(found, by_brute_force(&scene, origin, direction, 0.0, 10.0));
            hits += usize::from(found.is_some());
        }
        assert!(hits > 50, "only {hits} of 300 rays hit");
        let mut beside = Vec3::ZERO;
        beside[(axis + 1) % 3] = 1.0;
        let mut origin = Vec3::ZERO;
        origin[axis] = 0.25;
        assert_eq!(bvh::intersect(&scene, origin - beside * 5.0, beside, 0.0, 10.0), None);
    }
}

#[test]
fn triangles_without_area_disturb_nobody() {
    let mut random = Random(17);
    let mut triangles = soup(&mut random, 200, 0.2);
    for index in 0..200 {
        let point = random.cube();
        triangles.push(if index % 2 == 0 { [point; 3] } else { [point, point + Vec3::X * 0.3, point + Vec3::X * 0.6] });
    }
    let scene = scene_of(mesh(triangles));
    assert!(compare(&scene, &mut random, 300) > 20);
}

#[test]
fn a_thousand_copies_of_one_triangle_give_the_first() {
    let triangle = [Vec3::new(-1.0, -1.0, 0.0), Vec3::new(1.0, -1.0, 0.0), Vec3::new(0.0, 1.0, 0.0)];
    let scene = scene_of(mesh(vec![triangle; 1000]));
    let hit =
        bvh::intersect(&scene, Vec3::new(0.1, 0.0, 3.0), Vec3::NEG_Z, 0.0, 10.0).expect("the ray goes through all");
    assert_eq!((hit.instance, hit.triangle, hit.t), (0, 0, 3.0));
}

#[test]
fn nested_shapes_do_not_make_a_deep_tree() {
    // Each triangle contains all before it: agglomeration pairs them into a list.
    let triangles = (0..3000)
        .map(|index| {
            let size = 1.004_f32.powi(index);
            [Vec3::new(-size, -size, size), Vec3::new(size, -size, -size), Vec3::new(0.0, size, 0.0)]
        })
        .collect();
    let mesh = mesh(triangles);
    assert!(bvh::levels(&mesh.bvh) <= limits::BVH_LEVELS_MAX, "{} levels", bvh::levels(&mesh.bvh));
    let scene = scene_of(mesh);
    compare(&scene, &mut Random(19), 60);
}

fn some_transforms(random: &mut Random, count: usize) -> Vec<Affine3A> {
    (0..count)
        .map(|_| {
            let rotation = Quat::from_rotation_y(random.unit() * 6.0) * Quat::from_rotation_x(random.unit() * 6.0);
            // Mirrored where an odd number of factors is negative.
            let scale = Vec3::new(0.4 + random.unit(), 0.4 + random.unit(), random.unit() - 1.4);
            Affine3A::from_scale_rotation_translation(scale, rotation, random.cube() * 6.0)
        })
        .collect()
}

#[test]
fn instances_are_hit_where_brute_force_hits() {
    let mut random = Random(23);
    let meshes = [(60, 0.4), (9, 0.7), (1, 1.0)].map(|(count, size)| mesh(soup(&mut random, count, size)));
    for count in [1, 2, 7, 90] {
        let transforms = some_transforms(&mut random, count);
        let meshes = meshes.iter().map(copy).collect();
        let scene = scene_of_instances(meshes, transforms);
        let hits = compare(&scene, &mut random, 300);
        assert!(hits > 5, "{count} instances were hit {hits} times");
    }
}

fn copy(mesh: &Mesh) -> Mesh {
    Mesh {
        triangles: mesh.triangles.clone(),
        positions: mesh.positions.clone(),
        bvh: mesh.bvh.clone(),
        bounds: mesh.bounds,
        ..Mesh::default()
    }
}

#[test]
fn leaves_name_each_primitive_once_and_within_their_bounds() {
    let mut random = Random(29);
    let mut mesh = mesh(soup(&mut random, 2000, 0.1));
    let triangle_count = mesh.triangles.len();
    let mut seen = vec![0; triangle_count];
    for node in &mesh.bvh {
        for child in (0..8).filter(|&child| !node.is_child_empty(child) && node.is_leaf(child)) {
            let (first, count) = node.child_primitives(child);
            assert!((1..=bvh::LEAF_TRIANGLES_MAX).contains(&count));
            let around = node.child_aabb(child);
            for triangle in first..first + count {
                seen[triangle as usize] += 1;
                for vertex in mesh.triangles[triangle as usize] {
                    let position = mesh.positions[vertex as usize];
                    let around = Bounds { min: around.min.into(), max: around.max.into() };
                    assert!(
                        position.cmpge(around.min).all() && position.cmple(around.max).all(),
                        "{position} outside {around:?}"
                    );
                }
            }
        }
    }
    assert!(seen.iter().all(|&count| count == 1));
    // The order of leaves is a permutation of what went in.
    mesh.triangles.sort_unstable();
    assert!(mesh.triangles.iter().enumerate().all(|(index, triangle)| triangle[0] == index as u32 * 3));

    let transforms = some_transforms(&mut random, 300);
    let scene = scene_of_instances(vec![mesh], transforms);
    let mut seen = vec![0; 300];
    for node in &scene.tlas {
        for child in (0..8).filter(|&child| !node.is_child_empty(child) && node.is_leaf(child)) {
            let (first, count) = node.child_primitives(child);
            assert_eq!(count, 1, "a leaf of the scene holds one instance");
            seen[first as usize] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count == 1));
}

#[test]
fn a_tree_is_the_same_every_time() {
    let build = || mesh(soup(&mut Random(31), 5000, 0.05));
    let (a, b) = (build(), build());
    assert_eq!(a.triangles, b.triangles);
    assert!(a.bvh == b.bvh);
}

#[test]
fn an_empty_scene_has_no_hits() {
    let mut scene = Scene::default();
    bvh::build_tlas(&mut scene);
    assert!(scene.tlas.is_empty() && scene.bounds.is_empty());
    assert_eq!(bvh::intersect(&scene, Vec3::ZERO, Vec3::Z, 0.0, f32::INFINITY), None);
}
