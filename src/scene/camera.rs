//! Cameras: those of the file, and the ones a job asks for.
//!
//! A glTF camera brings its own `aspectRatio`; the picture's size wins, and the *vertical* field of view is kept, so that a
//! wider picture shows more at its sides and nothing is ever stretched. For the same reason `xmag` of an orthographic
//! camera is not used. A camera's frame is made of its node's −Z and +Y without scale, so it never mirrors.

use super::document::{Document, get};
use super::error::{SceneError, SceneResult};
use super::frame::unit;
use super::nodes::Hierarchy;
use super::{Bounds, Camera, FileCamera, Projection, Scene};
use crate::job::spec::{CameraSpec, LookAt, NameOrIndex, Orbit};
use glam::{DQuat, DVec3, Vec3};
use std::f32::consts::PI;

/// Vertical field of view of orbit and auto-framed cameras, radians.
const FOV_Y: f32 = 40.0 * PI / 180.0;
/// Room around a framed scene, as a factor on its distance.
const FRAME_MARGIN: f32 = 1.06;

/// The camera of a job. `aspect` is width over height. Without a spec: the file's first camera, else one that looks at
/// the whole scene from the front right, a little from above.
///
/// # Errors
/// A camera that is not there, or that would see nothing: a field of view outside (0, π), no height, a position at its
/// target, an up vector along the view.
pub fn resolve(scene: &Scene, spec: Option<&CameraSpec>, aspect: f32) -> Result<Camera, SceneError> {
    if !(aspect.is_finite() && aspect > 0.0) {
        return Err(invalid(format!("The picture has the aspect ratio {aspect}; expected a positive number.")));
    }
    match spec {
        None => match scene.cameras.first() {
            Some(camera) => of_file(camera),
            None => orbit(scene, &Orbit { azimuth_deg: 35.0, elevation_deg: 20.0, zoom: 1.0 }, aspect),
        },
        Some(CameraSpec::Gltf { gltf }) => of_file(find(scene, gltf)?),
        Some(CameraSpec::Orbit { orbit: spec }) => orbit(scene, spec, aspect),
        Some(CameraSpec::LookAt(spec)) => look_at(spec),
    }
}

/// A camera that went around the middle of the scene by `turn` (1 is all the way), about +Y and counter-clockwise seen from above. It keeps
/// its distance and its height, and looks where it looked from there.
pub fn turned(camera: Camera, scene: &Scene, turn: f64) -> Camera {
    if turn == 0.0 {
        return camera;
    }
    let center = if scene.bounds.is_empty() { DVec3::ZERO } else { scene.bounds.center().as_dvec3() };
    let rotation = DQuat::from_rotation_y(turn * std::f64::consts::TAU);
    let direction = |v: Vec3| (rotation * v.as_dvec3()).as_vec3();
    Camera {
        position: (center + rotation * (camera.position.as_dvec3() - center)).as_vec3(),
        right: direction(camera.right),
        up: direction(camera.up),
        forward: direction(camera.forward),
        ..camera
    }
}

fn invalid(message: impl Into<String>) -> SceneError {
    SceneError::invalid("load", message)
}

fn of_file(camera: &FileCamera) -> SceneResult<Camera> {
    match &camera.problem {
        None => Ok(camera.camera),
        Some(problem) => Err(invalid(problem.clone()).at(format!("/cameras/{}", camera.index))),
    }
}

fn find<'a>(scene: &'a Scene, wanted: &NameOrIndex) -> SceneResult<&'a FileCamera> {
    let found = scene.cameras.iter().find(|camera| match wanted {
        NameOrIndex::Index(index) => camera.index == *index,
        NameOrIndex::Name(name) => camera.name.as_ref() == Some(name) || camera.node_name.as_ref() == Some(name),
    });
    found.ok_or_else(|| {
        let wanted = match wanted {
            NameOrIndex::Index(index) => format!("camera {index}"),
            NameOrIndex::Name(name) => format!("a camera named \"{name}\""),
        };
        let name = |camera: &FileCamera| match camera.name.as_ref().or(camera.node_name.as_ref()) {
            Some(name) => format!("{} \"{name}\"", camera.index),
            None => camera.index.to_string(),
        };
        let there = match scene.cameras.as_slice() {
            [] => "the scene has none".to_owned(),
            cameras => format!("the scene has {}", cameras.iter().take(32).map(name).collect::<Vec<_>>().join(", ")),
        };
        invalid(format!("The job asks for {wanted} that is not in the scene; {there}.")).at("/cameras")
    })
}

fn look_at(spec: &LookAt) -> SceneResult<Camera> {
    let [position, target, up] = [spec.position, spec.target, spec.up].map(Vec3::from_array);
    if !(position.is_finite() && target.is_finite() && up.is_finite()) {
        return Err(invalid("A vector of the camera is not finite."));
    }
    if !(spec.fov_y_deg > 0.0 && spec.fov_y_deg < 180.0) {
        return Err(invalid(format!(
            "The camera's fov_y_deg is {}; expected more than 0 and less than 180.",
            spec.fov_y_deg
        )));
    }
    if !(spec.aperture_radius.is_finite() && spec.aperture_radius >= 0.0) {
        return Err(invalid(format!(
            "The camera's aperture_radius is {}; expected 0 or more metres.",
            spec.aperture_radius
        )));
    }
    let distance = position.distance(target);
    let forward = unit(target - position).filter(|_| distance > 0.0).ok_or_else(|| {
        invalid(format!(
            "The camera's position and target are both {position}; expected two points to look from and to."
        ))
    })?;
    let (right, up) = upright(forward, up).ok_or_else(|| {
        invalid(format!("The camera's up vector {up} is zero or parallel to its view; expected another one."))
    })?;
    let focus_distance = match spec.focus_distance {
        None => distance,
        Some(0.0) => distance,
        Some(focus) if focus.is_finite() && focus > 0.0 => focus,
        Some(focus) => {
            return Err(invalid(format!(
                "The camera's focus_distance is {focus}; expected a positive number of metres."
            )));
        }
    };
    Ok(Camera {
        position,
        right,
        up,
        forward,
        projection: Projection::Perspective { fov_y: spec.fov_y_deg.to_radians() },
        aperture_radius: spec.aperture_radius,
        focus_distance,
    })
}

/// Right and up of a frame that looks along the unit vector `forward`. `None` where `up` gives no direction.
fn upright(forward: Vec3, up: Vec3) -> Option<(Vec3, Vec3)> {
    let right = forward.cross(unit(up)?);
    // Below this angle (about 0.06 thousandths of a degree) the direction is mostly rounding.
    if right.length() < 1.0e-6 {
        return None;
    }
    let right = right.normalize();
    Some((right, right.cross(forward)))
}

fn orbit(scene: &Scene, spec: &Orbit, aspect: f32) -> SceneResult<Camera> {
    if !(spec.azimuth_deg.is_finite() && spec.elevation_deg.abs() < 90.0) {
        return Err(invalid(format!(
            "The orbit has azimuth {}° and elevation {}°; expected an elevation between −90 and 90.",
            spec.azimuth_deg, spec.elevation_deg
        )));
    }
    if !(spec.zoom.is_finite() && spec.zoom > 0.0) {
        return Err(invalid(format!("The orbit has the zoom {}; expected a positive number.", spec.zoom)));
    }
    let (azimuth, elevation) = (spec.azimuth_deg.to_radians(), spec.elevation_deg.to_radians());
    let toward_eye = Vec3::new(azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos());
    let forward = -toward_eye;
    let (right, up) = upright(forward, Vec3::Y)
        .ok_or_else(|| invalid(format!("The orbit's elevation of {}° is too close to a pole.", spec.elevation_deg)))?;
    let bounds = if scene.bounds.is_empty() { Bounds { min: Vec3::NEG_ONE, max: Vec3::ONE } } else { scene.bounds };
    let center = bounds.center();
    // Every corner of the bounds must project into the picture: |x| ≤ (d − z)·tan for its offset (x, y, z) from the
    // middle, z towards the eye.
    let tan_y = (0.5 * FOV_Y).tan();
    let tan_x = tan_y * aspect;
    let mut distance = 0.0_f32;
    for corner in bounds.corners() {
        let offset = corner - center;
        let depth = offset.dot(toward_eye);
        distance = distance.max(depth + offset.dot(right).abs() / tan_x).max(depth + offset.dot(up).abs() / tan_y);
    }
    let distance = (distance * FRAME_MARGIN / spec.zoom).max(f32::MIN_POSITIVE.sqrt());
    let position = center + toward_eye * distance;
    if !position.is_finite() || position == center {
        return Err(invalid("The scene's size leaves no room for a camera: place one with look-at."));
    }
    Ok(Camera {
        position,
        right,
        up,
        forward,
        projection: Projection::Perspective { fov_y: FOV_Y },
        aperture_radius: 0.0,
        focus_distance: distance,
    })
}

/// The cameras of the visible nodes, in the order of the file's cameras, then of its nodes. A camera that cannot see is
/// kept with its problem: it only matters to a job that asks for it.
pub(super) fn collect(document: &Document, hierarchy: &Hierarchy) -> SceneResult<Vec<FileCamera>> {
    let mut cameras = Vec::new();
    for &index in &hierarchy.visible {
        let node = &document.nodes[index as usize];
        let Some(camera_index) = node.camera else { continue };
        let camera = get(&document.cameras, camera_index, "cameras", &format!("/nodes/{index}/camera"))?;
        let mut problem = None;
        let projection = match (camera.kind.as_str(), &camera.perspective, &camera.orthographic) {
            ("perspective", Some(perspective), _) => {
                if !(perspective.yfov > 0.0 && perspective.yfov < PI) {
                    problem = Some(format!(
                        "The camera has the vertical field of view {} rad; expected more than 0 and less than π.",
                        perspective.yfov
                    ));
                }
                Projection::Perspective { fov_y: perspective.yfov }
            }
            ("orthographic", _, Some(orthographic)) => {
                let (x, y) = (orthographic.xmag, orthographic.ymag);
                if !(x.is_finite() && y.is_finite()) || x == 0.0 || y == 0.0 {
                    problem = Some(format!(
                        "The orthographic camera has xmag {x} and ymag {y}; expected numbers that are not 0."
                    ));
                }
                Projection::Orthographic { half_height: y.abs() }
            }
            (kind, _, _) => {
                problem = Some(format!(
                    "The camera is \"{kind}\" without its members; expected \"perspective\" or \"orthographic\" with them."
                ));
                Projection::Perspective { fov_y: FOV_Y }
            }
        };
        let matrix = &hierarchy.world_from_object[index as usize];
        let axis = |axis: DVec3| matrix.transform_vector3(axis).try_normalize().map(|axis| axis.as_vec3());
        let forward = axis(DVec3::NEG_Z).filter(|forward| forward.is_finite());
        let frame = forward.zip(axis(DVec3::Y)).and_then(|(forward, up)| Some((forward, upright(forward, up)?)));
        let position = matrix.translation.as_vec3();
        if frame.is_none() || !position.is_finite() {
            problem = Some(
                "The camera's node has a singular or infinite transform; expected one that gives a view.".to_owned(),
            );
        }
        let (forward, (right, up)) = frame.unwrap_or((Vec3::NEG_Z, (Vec3::X, Vec3::Y)));
        cameras.push(FileCamera {
            name: camera.name.clone(),
            node_name: node.name.clone(),
            index: camera_index,
            camera: Camera { position, right, up, forward, projection, aperture_radius: 0.0, focus_distance: 1.0 },
            problem,
        });
    }
    // Stable, so that nodes that share a camera keep their order.
    cameras.sort_by_key(|camera| camera.index);
    Ok(cameras)
}
