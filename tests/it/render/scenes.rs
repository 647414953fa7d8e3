//! Scenes made by hand, and a way to render them.

use glam::{Affine3A, Vec2, Vec3, Vec4};
use kiln::device::{AdapterSelector, DeviceHandle, DeviceThread};
use kiln::image::Film;
use kiln::job::Priority;
use kiln::path_trace::{Background, Render, RenderEvent, RenderSettings, RenderStats};
use kiln::scene::environment::Environment;
use kiln::scene::{
    AlphaMode, Bounds, Camera, EmissiveTriangle, Image, Instance, Material, Mesh, Projection, Scene, Texture, bvh,
};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// The device thread of the test process, or `None`, loudly. `KILN_REQUIRE_GPU=1` makes that a failure.
pub fn device_or_skip() -> Option<&'static DeviceHandle> {
    static DEVICE: OnceLock<Result<DeviceHandle, String>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        let (thread, handle) = DeviceThread::spawn(&AdapterSelector::Auto).map_err(|error| error.to_string())?;
        // It lives as long as the process.
        std::mem::forget(thread);
        Ok(handle)
    });
    match device {
        Ok(handle) => Some(handle),
        Err(why) => {
            let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "KILN_REQUIRE_GPU=1, but no GPU can be used: {why}");
            eprintln!("======== SKIPPED: this test needs a GPU adapter, and there is none: {why} ========");
            None
        }
    }
}

pub fn material() -> Material {
    Material {
        name: String::new(),
        base_color: Vec4::ONE,
        base_color_texture: None,
        metallic: 0.0,
        roughness: 1.0,
        specular: 1.0,
        metallic_roughness_texture: None,
        normal_texture: None,
        normal_scale: 1.0,
        emission: Vec3::ZERO,
        emission_texture: None,
        alpha_mode: AlphaMode::Opaque,
        double_sided: false,
    }
}

/// A parallelogram seen from the side that `right` × `up` points to.
pub fn quad(corner: Vec3, right: Vec3, up: Vec3, material: u32) -> Mesh {
    let normal = right.cross(up).normalize();
    let uv = vec![Vec2::new(0.0, 1.0), Vec2::new(1.0, 1.0), Vec2::new(1.0, 0.0), Vec2::new(0.0, 0.0)];
    mesh(
        vec![corner, corner + right, corner + right + up, corner + up],
        vec![[0, 1, 2], [0, 2, 3]],
        vec![normal; 4],
        uv,
        material,
    )
}

/// A sphere of `rows` × 2 `rows` quads around the origin, with its true normals.
pub fn sphere(radius: f32, rows: u32, material: u32) -> Mesh {
    let columns = 2 * rows;
    let (mut positions, mut uv, mut triangles) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..=rows {
        for column in 0..=columns {
            let (u, v) = (column as f32 / columns as f32, row as f32 / rows as f32);
            let (theta, phi) = (v * std::f32::consts::PI, u * std::f32::consts::TAU);
            positions.push(Vec3::new(theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()));
            uv.push(Vec2::new(u, v));
        }
    }
    for row in 0..rows {
        for column in 0..columns {
            let a = row * (columns + 1) + column;
            let b = a + columns + 1;
            if row > 0 {
                triangles.push([a, b, a + 1]);
            }
            if row + 1 < rows {
                triangles.push([a + 1, b, b + 1]);
            }
        }
    }
    let normals = positions.clone();
    mesh(positions.iter().map(|p| *p * radius).collect(), triangles, normals, uv, material)
}

pub fn mesh(positions: Vec<Vec3>, triangles: Vec<[u32; 3]>, normals: Vec<Vec3>, uv0: Vec<Vec2>, material: u32) -> Mesh {
    let mut bounds = Bounds::default();
    positions.iter().for_each(|p| bounds.extend(*p));
    let mut mesh = Mesh { material, triangles, positions, normals, uv0, bounds, ..Mesh::default() };
    bvh::build_mesh(&mut mesh);
    mesh
}

/// Places meshes (index, transform) and lists what emits.
pub fn scene(meshes: Vec<Mesh>, materials: Vec<Material>, placed: &[(u32, Affine3A)]) -> Scene {
    let mut scene = Scene { meshes, materials, ..Scene::default() };
    scene.instances = placed
        .iter()
        .enumerate()
        .map(|(node, &(mesh, world_from_object))| Instance { mesh, world_from_object, node: node as u32 })
        .collect();
    bvh::build_tlas(&mut scene);
    for (index, instance) in scene.instances.iter().enumerate() {
        let mesh = &scene.meshes[instance.mesh as usize];
        let emission = scene.materials[mesh.material as usize].emission;
        if emission == Vec3::ZERO {
            continue;
        }
        for (triangle, corners) in mesh.triangles.iter().enumerate() {
            let [a, b, c] =
                corners.map(|vertex| instance.world_from_object.transform_point3(mesh.positions[vertex as usize]));
            let area = 0.5 * (b - a).cross(c - a).length();
            let power = area * emission.dot(Vec3::new(0.2126, 0.7152, 0.0722)) * std::f32::consts::PI;
            scene.emissive_triangles.push(EmissiveTriangle {
                instance: index as u32,
                triangle: triangle as u32,
                power,
                area,
            });
        }
    }
    scene
}

/// Each mesh once, where it is.
pub fn placed(meshes: Vec<Mesh>, materials: Vec<Material>) -> Scene {
    let places: Vec<(u32, Affine3A)> = (0..meshes.len() as u32).map(|mesh| (mesh, Affine3A::IDENTITY)).collect();
    scene(meshes, materials, &places)
}

/// A picture of one texel after another, and a texture of it.
pub fn texture(scene: &mut Scene, width: u32, rgba8: Vec<u8>, texture: Texture) -> u32 {
    let height = rgba8.len() as u32 / 4 / width;
    scene.images.push(Image { width, height, rgba8 });
    scene.textures.push(Texture { image: scene.images.len() as u32 - 1, ..texture });
    scene.textures.len() as u32 - 1
}

/// The same radiance from everywhere.
pub fn sky(radiance: f32) -> Environment {
    Environment::new(64, 32, vec![[radiance; 3]; 64 * 32])
}

/// A pinhole that looks along −Z from `z`.
pub fn camera(z: f32, fov_y_deg: f32) -> Camera {
    Camera {
        position: Vec3::new(0.0, 0.0, z),
        right: Vec3::X,
        up: Vec3::Y,
        forward: Vec3::NEG_Z,
        projection: Projection::Perspective { fov_y: fov_y_deg.to_radians() },
        aperture_radius: 0.0,
        focus_distance: z.max(1.0),
    }
}

/// A pinhole that looks straight down from `y`.
pub fn above(y: f32, fov_y_deg: f32) -> Camera {
    let position = Vec3::new(0.0, y, 0.0);
    Camera { position, up: Vec3::NEG_Z, forward: Vec3::NEG_Y, ..camera(1.0, fov_y_deg) }
}

pub fn settings(width: u32, height: u32, samples: u32) -> RenderSettings {
    RenderSettings {
        width,
        height,
        samples,
        max_bounces: 4,
        seed: 7,
        clamp_indirect: 0.0,
        camera: camera(3.0, 50.0),
        background: Background::Environment,
        environment_intensity: 1.0,
        environment_rotation_rad: 0.0,
        slice_paths: None,
    }
}

/// Renders to the end.
pub fn render(device: &DeviceHandle, scene: Scene, sky: Environment, settings: RenderSettings) -> (Film, RenderStats) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let events = Box::new(move |event| {
        let _ = sender.send(event);
    });
    let render = Render::new(
        Arc::new(scene),
        Arc::new(sky),
        settings,
        "test".to_owned(),
        Priority::Normal,
        Arc::new(AtomicBool::new(false)),
        events,
    );
    device.submit(Box::new(render)).expect("the device thread takes work");
    for event in receiver {
        match event {
            RenderEvent::Finished { film, stats, .. } => return (film, stats),
            RenderEvent::Failed(error) => panic!("the render failed: {error}"),
            RenderEvent::Cancelled | RenderEvent::PutAside(_) => panic!("nobody stopped the render"),
            RenderEvent::Progress { .. }
            | RenderEvent::Preview(_)
            | RenderEvent::Checkpoint(_)
            | RenderEvent::Note(_)
            | RenderEvent::Preempted => {}
        }
    }
    panic!("the render ended without an event");
}

/// Mean of the red channel.
pub fn mean(film: &Film) -> f32 {
    let sum: f64 = film.rgba.iter().map(|pixel| f64::from(pixel[0])).sum();
    (sum / film.rgba.len() as f64) as f32
}

/// The red channel of a pixel.
pub fn red(film: &Film, x: u32, y: u32) -> f32 {
    film.rgba[(y * film.width + x) as usize][0]
}

/// Saves a picture for people to look at, where `KILN_SAVE_PICTURES` names a folder.
pub fn save(film: &Film, name: &str) {
    if let Some(folder) = std::env::var_os("KILN_SAVE_PICTURES") {
        let png = kiln::image::preview_png(
            film,
            kiln::job::spec::ToneMap::Neutral,
            0.0,
            kiln::job::spec::Background::Environment,
        )
        .expect("a film encodes");
        let path = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, png).expect("the folder can be written");
    }
}
