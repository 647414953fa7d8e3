//! Cameras: of the file, orbit, look-at, auto-framed, and those that see nothing.

use super::builder::Builder;
use glam::Vec3;
use kiln::job::spec::{CameraSpec, LookAt, NameOrIndex, Orbit};
use kiln::scene::camera::resolve;
use kiln::scene::{Camera, Projection, Scene};
use serde_json::json;

fn look_at() -> LookAt {
    LookAt {
        position: [0.0, 0.0, 5.0],
        target: [0.0, 0.0, 1.0],
        up: [0.0, 1.0, 0.0],
        fov_y_deg: 90.0,
        aperture_radius: 0.1,
        focus_distance: None,
    }
}

/// Where a point lies in the picture: [−1, 1] on both axes.
fn project(camera: &Camera, aspect: f32, point: Vec3) -> (f32, f32) {
    let Projection::Perspective { fov_y } = camera.projection else { panic!("a perspective camera") };
    let offset = point - camera.position;
    let depth = offset.dot(camera.forward);
    assert!(depth > 0.0, "the point is behind the camera");
    let tan = (0.5 * fov_y).tan();
    (offset.dot(camera.right) / depth / tan / aspect, offset.dot(camera.up) / depth / tan)
}

#[test]
fn look_at_makes_a_right_handed_frame_and_focuses_on_its_target() {
    let camera = resolve(&Scene::default(), Some(&CameraSpec::LookAt(look_at())), 1.5).unwrap();
    assert_eq!((camera.forward, camera.right, camera.up), (Vec3::NEG_Z, Vec3::X, Vec3::Y));
    assert_eq!((camera.focus_distance, camera.aperture_radius), (4.0, 0.1));
    let Projection::Perspective { fov_y } = camera.projection else { panic!("a perspective camera") };
    assert!((fov_y - std::f32::consts::FRAC_PI_2).abs() < 1.0e-6);
    let focused = LookAt { focus_distance: Some(2.5), ..look_at() };
    assert_eq!(resolve(&Scene::default(), Some(&CameraSpec::LookAt(focused)), 1.0).unwrap().focus_distance, 2.5);
}

#[test]
fn a_camera_that_sees_nothing_is_refused() {
    let cases = [
        LookAt { target: [0.0, 0.0, 5.0], ..look_at() },
        LookAt { up: [0.0, 0.0, 2.0], ..look_at() },
        LookAt { up: [0.0; 3], ..look_at() },
        LookAt { fov_y_deg: 0.0, ..look_at() },
        LookAt { fov_y_deg: 180.0, ..look_at() },
        LookAt { fov_y_deg: f32::NAN, ..look_at() },
        LookAt { position: [f32::INFINITY, 0.0, 0.0], ..look_at() },
        LookAt { focus_distance: Some(-1.0), ..look_at() },
        LookAt { aperture_radius: -1.0, ..look_at() },
    ];
    for spec in cases {
        let message = format!("{spec:?}");
        assert!(resolve(&Scene::default(), Some(&CameraSpec::LookAt(spec)), 1.0).is_err(), "{message}");
    }
    assert!(resolve(&Scene::default(), None, 0.0).is_err());
    for orbit in [(0.0, 90.0, 1.0), (0.0, 0.0, 0.0), (f32::NAN, 0.0, 1.0), (0.0, f32::NAN, 1.0)] {
        let orbit = Orbit { azimuth_deg: orbit.0, elevation_deg: orbit.1, zoom: orbit.2 };
        assert!(resolve(&Scene::default(), Some(&CameraSpec::Orbit { orbit }), 1.0).is_err());
    }
}

#[test]
fn the_whole_scene_fits_into_the_default_and_orbit_pictures() {
    for scale in [[1.0, 1.0, 1.0], [40.0, 1.0, 2.0], [0.001, 0.03, 0.001], [1.0e6, 1.0, 1.0e6]] {
        let mut builder = Builder::triangle();
        builder.json["nodes"] = json!([{ "mesh": 0, "scale": scale, "translation": [5, -3, 2] }, { "mesh": 0, "rotation": [0, 1, 0, 0], "scale": scale }]);
        let scene = builder.load().unwrap();
        for aspect in [0.2, 1.0, 1.777, 6.0] {
            let orbit = |azimuth_deg, elevation_deg| CameraSpec::Orbit {
                orbit: Orbit { azimuth_deg, elevation_deg, zoom: 1.0 },
            };
            for spec in [None, Some(orbit(0.0, 0.0)), Some(orbit(200.0, -60.0)), Some(orbit(90.0, 89.0))] {
                let camera = resolve(&scene, spec.as_ref(), aspect).unwrap();
                let mut largest = 0.0_f32;
                for corner in scene.bounds.corners() {
                    let (x, y) = project(&camera, aspect, corner);
                    largest = largest.max(x.abs()).max(y.abs());
                }
                assert!(
                    largest < 1.0 && largest > 0.5,
                    "{spec:?} at {aspect}: the scene takes {largest} of the picture"
                );
            }
        }
    }
}

#[test]
fn orbit_turns_from_plus_z_and_zoom_halves_the_distance() {
    let scene = Builder::triangle().load().unwrap();
    let orbit = |azimuth_deg, zoom| {
        let spec = CameraSpec::Orbit { orbit: Orbit { azimuth_deg, elevation_deg: 0.0, zoom } };
        resolve(&scene, Some(&spec), 1.0).unwrap()
    };
    assert!(orbit(0.0, 1.0).forward.abs_diff_eq(Vec3::NEG_Z, 1.0e-6));
    assert!(orbit(90.0, 1.0).forward.abs_diff_eq(Vec3::NEG_X, 1.0e-6));
    let center = scene.bounds.center();
    let (far, near) = (orbit(0.0, 1.0).position.distance(center), orbit(0.0, 2.0).position.distance(center));
    assert!((far / near - 2.0).abs() < 1.0e-4);
}

#[test]
fn an_empty_scene_still_has_a_camera() {
    let camera = resolve(&Scene::default(), None, 1.0).unwrap();
    assert!(camera.position.is_finite() && camera.forward.is_normalized());
}

/// A file with a perspective camera "wide", an orthographic one, and some that see nothing.
fn cameras() -> Builder {
    let mut builder = Builder::triangle();
    builder.json["cameras"] = json!([
        { "type": "perspective", "name": "wide", "perspective": { "yfov": 1.2, "znear": 0.1, "aspectRatio": 3.0 } },
        { "type": "orthographic", "orthographic": { "xmag": 2.0, "ymag": 3.0, "znear": 0.1, "zfar": 10.0 } },
        { "type": "perspective", "perspective": { "yfov": 0.0, "znear": 0.1 } },
        { "type": "perspective", "perspective": { "yfov": 3.2, "znear": 0.1 } },
        { "type": "orthographic", "orthographic": { "xmag": 1.0, "ymag": 0.0, "znear": 0.1, "zfar": 10.0 } },
        { "type": "perspective", "perspective": { "yfov": 1.0, "znear": 0.1 } },
        { "type": "fisheye" }
    ]);
    let half = 0.5_f32.sqrt();
    builder.json["nodes"] = json!([
        { "mesh": 0 },
        { "camera": 1 },
        // Turned by 90° around y: looks along −X. The scale must not count.
        { "camera": 0, "translation": [1, 2, 3], "rotation": [0, half, 0, half], "scale": [2, 3, -5], "name": "tripod" },
        { "camera": 2 }, { "camera": 3 }, { "camera": 4 },
        { "camera": 5, "scale": [0, 0, 0] },
        { "camera": 6 }
    ]);
    builder
}

#[test]
fn cameras_of_the_file_are_found_by_index_and_name() {
    let scene = cameras().load().unwrap();
    let gltf = |gltf| CameraSpec::Gltf { gltf };
    let by_index = resolve(&scene, Some(&gltf(NameOrIndex::Index(0))), 1.0).unwrap();
    assert_eq!(by_index.position, Vec3::new(1.0, 2.0, 3.0));
    assert_eq!(by_index.projection, Projection::Perspective { fov_y: 1.2 });
    for name in ["wide", "tripod"] {
        assert_eq!(resolve(&scene, Some(&gltf(NameOrIndex::Name(name.to_owned()))), 1.0).unwrap(), by_index);
    }
    assert_eq!(resolve(&scene, None, 1.0).unwrap(), by_index, "the first camera is the default");
    let orthographic = resolve(&scene, Some(&gltf(NameOrIndex::Index(1))), 1.0).unwrap();
    assert_eq!(orthographic.projection, Projection::Orthographic { half_height: 3.0 });
    let error = resolve(&scene, Some(&gltf(NameOrIndex::Name("narrow".to_owned()))), 1.0).unwrap_err();
    assert!(error.message.contains("0 \"wide\""), "{error}");
}

#[test]
fn the_frame_of_a_file_camera_ignores_scale_and_never_mirrors() {
    let mut builder = cameras();
    builder.json["nodes"][2]["scale"] = json!([2, 3, 5]);
    let scene = builder.load().unwrap();
    let camera = resolve(&scene, None, 1.0).unwrap();
    assert!(camera.forward.abs_diff_eq(Vec3::NEG_X, 1.0e-6), "{}", camera.forward);
    assert!(camera.up.abs_diff_eq(Vec3::Y, 1.0e-6));
    assert!(camera.right.abs_diff_eq(camera.forward.cross(camera.up), 1.0e-6));
}

#[test]
fn broken_cameras_of_the_file_matter_only_to_those_who_ask_for_them() {
    let scene = cameras().load().unwrap();
    for index in 2..7 {
        let spec = CameraSpec::Gltf { gltf: NameOrIndex::Index(index) };
        let error = resolve(&scene, Some(&spec), 1.0).unwrap_err();
        assert_eq!(error.pointer, Some(format!("/cameras/{index}")), "{error}");
    }
}
