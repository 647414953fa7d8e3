//! Kiln's own sample scenes are what they promise to be.

use kiln::sample_scenes;
use kiln::scene::{self, LoadOptions, Scene};

fn load(glb: &[u8]) -> Scene {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), glb).unwrap();
    scene::load(file.path(), &LoadOptions::default()).unwrap()
}

#[test]
fn every_sample_scene_loads_without_a_note_and_has_a_camera() {
    for name in sample_scenes::NAMES {
        let scene = load(&sample_scenes::by_name(name).unwrap());
        assert_eq!(scene.cameras.len(), 1, "{name}");
        assert!(scene.report.extensions_ignored.is_empty(), "{name}: {:?}", scene.report);
        for (mesh, instance) in scene.instances.iter().map(|i| (&scene.meshes[i.mesh as usize], i)) {
            assert!(instance.world_from_object.matrix3.determinant() > 0.0, "{name}");
            // A front face's normals are on its outside, but for a few slivers where a rim turns sharply.
            let mut inwards = 0;
            for &[a, b, c] in &mesh.triangles {
                let [pa, pb, pc] = [a, b, c].map(|v| mesh.positions[v as usize]);
                let face = (pb - pa).cross(pc - pa);
                let mean = mesh.normals[a as usize] + mesh.normals[b as usize] + mesh.normals[c as usize];
                inwards += usize::from(face.dot(mean) < 0.0);
            }
            let all = mesh.triangles.len();
            assert!(inwards * 100 <= all, "{name}: {inwards} of {all} triangles with normals inwards");
        }
    }
    assert!(sample_scenes::by_name("nothing").is_none());
}

#[test]
fn the_field_has_a_million_triangles_out_of_a_few() {
    let scene = load(&sample_scenes::field(1_000_000));
    let placed: usize = scene.instances.iter().map(|i| scene.meshes[i.mesh as usize].triangles.len()).sum();
    assert!((1_000_000..1_010_000).contains(&placed), "{placed}");
    assert!(scene.report.triangles < 20_000, "{}", scene.report.triangles);
}

#[test]
fn the_knot_is_as_large_as_asked() {
    let scene = load(&sample_scenes::knot(270_000));
    let found = scene.report.triangles;
    assert!((265_000..275_000).contains(&found), "{found}");
}
