//! The GPU's traversal against the reference on the CPU.

use super::scenes::*;
use glam::{Affine3A, Quat, Vec3};
use kiln::path_trace::{Probe, ProbeHit, ProbeRay};
use kiln::scene::{Material, Mesh, Scene, bvh};

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// In [−1, 1]³.
    fn point(&mut self) -> Vec3 {
        Vec3::new(self.next(), self.next(), self.next()) * 2.0 - 1.0
    }
}

fn soup(numbers: &mut Numbers, triangles: u32, size: f32) -> Mesh {
    let mut positions = Vec::new();
    for _ in 0..triangles {
        let center = numbers.point();
        positions.extend([center, center + size * numbers.point(), center + size * numbers.point()]);
    }
    let count = positions.len();
    let indices = (0..triangles).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
    mesh(positions, indices, vec![Vec3::Z; count], vec![], 0)
}

fn trace(scene: &Scene, rays: Vec<ProbeRay>) -> Option<Vec<Option<ProbeHit>>> {
    let device = device_or_skip()?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let done = Box::new(move |answer| {
        let _ = sender.send(answer);
    });
    device.submit(Box::new(Probe::new(scene, rays, done))).expect("the device thread takes work");
    Some(receiver.recv().expect("the probe answers").expect("the device works"))
}

fn compare(scene: &Scene, numbers: &mut Numbers, count: usize) {
    let rays: Vec<ProbeRay> = (0..count)
        .map(|i| {
            let origin = numbers.point() * 3.0;
            let mut direction = numbers.point() * 0.8 - origin;
            // Some rays run along an axis, where reciprocals are infinite.
            if i % 16 < 3 {
                direction = [Vec3::X, Vec3::NEG_Y, Vec3::Z][i % 3];
            }
            ProbeRay { origin: origin.to_array(), direction: direction.to_array() }
        })
        .collect();
    let Some(hits) = trace(scene, rays.clone()) else { return };
    let (mut met, mut different) = (0, 0);
    for (ray, hit) in rays.iter().zip(hits) {
        let origin = Vec3::from_array(ray.origin);
        let expected = bvh::intersect(scene, origin, Vec3::from_array(ray.direction), 1e-9, 1e30);
        met += usize::from(expected.is_some());
        // Within rounding of an edge, the two may meet another triangle; the place must be the same even then.
        let same = match (hit, expected) {
            (None, None) => true,
            (Some(hit), Some(expected)) => {
                let place = |instance: u32, triangle: u32, u: f32, v: f32| {
                    let instance = &scene.instances[instance as usize];
                    let mesh = &scene.meshes[instance.mesh as usize];
                    let [a, b, c] = mesh.triangles[triangle as usize].map(|vertex| mesh.positions[vertex as usize]);
                    instance.world_from_object.transform_point3(a + (b - a) * u + (c - a) * v)
                };
                let found = place(hit.instance, hit.triangle, hit.barycentrics[0], hit.barycentrics[1]);
                let wanted = place(expected.instance, expected.triangle, expected.u, expected.v);
                (found - wanted).length() < 1e-4 * (1.0 + wanted.length())
            }
            _ => false,
        };
        different += usize::from(!same);
    }
    assert!(met > count / 20, "only {met} of {count} rays meet anything: the test shows nothing");
    assert!(different * 2000 <= count, "{different} of {count} rays differ from the reference");
}

#[test]
fn one_mesh_is_met_where_the_reference_meets_it() {
    let mut numbers = Numbers(1);
    let both = Material { double_sided: true, ..material() };
    let scene = placed(vec![soup(&mut numbers, 3000, 0.15)], vec![both]);
    compare(&scene, &mut numbers, 20_000);
}

#[test]
fn instances_under_any_transform_are_met_where_the_reference_meets_them() {
    let mut numbers = Numbers(2);
    let both = Material { double_sided: true, ..material() };
    let meshes = vec![soup(&mut numbers, 400, 0.3), sphere(0.7, 12, 0), soup(&mut numbers, 1, 1.0)];
    let places: Vec<(u32, Affine3A)> = (0..300)
        .map(|i| {
            let mirror = if i % 3 == 0 { -1.0 } else { 1.0 };
            let scale = Vec3::new(0.1 * mirror, 0.05 + 0.2 * numbers.next(), 0.1);
            let turn = Quat::from_axis_angle(numbers.point().normalize(), 6.0 * numbers.next());
            (i % 3, Affine3A::from_scale_rotation_translation(scale, turn, 2.0 * numbers.point()))
        })
        .collect();
    let scene = scene(meshes, vec![both], &places);
    compare(&scene, &mut numbers, 20_000);
}

#[test]
fn a_tree_deeper_than_the_short_stack_is_still_walked_whole() {
    // Each triangle is an eighth of the one before and lies in its corner, so that trees become deep.
    let both = Material { double_sided: true, ..material() };
    let mut numbers = Numbers(3);
    let mut positions = Vec::new();
    for i in 0..4000 {
        let size = 1.0e-3_f32.max(2.0 * 0.995_f32.powi(i));
        let at = Vec3::splat(size);
        positions.extend([at, at + Vec3::X * size, at + Vec3::Y * size]);
    }
    let count = positions.len();
    let indices = (0..count as u32 / 3).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
    let nest = mesh(positions, indices, vec![Vec3::Z; count], vec![], 0);
    let places: Vec<(u32, Affine3A)> =
        (0..2000).map(|i| (0, Affine3A::from_scale(Vec3::splat(0.996_f32.powi(i))))).collect();
    let scene = scene(vec![nest], vec![both], &places);
    compare(&scene, &mut numbers, 4000);
}
