//! From a file to a [`Scene`], step by step; the other modules of `scene/` are the steps.

use super::accessor::{Buffers, Component, Elements};
use super::container::Container;
use super::document::{Document, Node, get};
use super::error::{SceneError, SceneResult};
use super::geometry::{self, MeshJob};
use super::image::Images;
use super::nodes::Hierarchy;
use super::tally::Tally;
use super::{Instance, Mesh, Scene, animation, bvh, camera, emissive, light, material, skin, validate};
use crate::job::spec::AnimationSpec;
use crate::limits;
use glam::{Affine3A, DAffine3, DQuat, DVec3};
use rayon::prelude::*;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// Extensions that the loader or the renderer understands.
pub const EXTENSIONS: [&str; 8] = [
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    "KHR_lights_punctual",
    "KHR_materials_emissive_strength",
    "KHR_materials_specular",
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_texture_transform",
];

/// What of a file to load.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// The clip and the time that pose the scene; `None` for the file's rest pose.
    pub animation: Option<AnimationSpec>,
}

/// Loads a GLB, a glTF JSON file (data URIs only), or a ZIP that holds one of them with its files. Which of them it is
/// is read from the content.
///
/// Blocks, and uses all cores: for loader threads. The result depends on the bytes and the options alone.
///
/// # Errors
/// See [`SceneError`]: the file is broken or asks for something unknown (`Invalid`), a bound is exceeded (`Limit`), or
/// the machine could not read it (`Io`).
pub fn load(path: &Path, options: &LoadOptions) -> Result<Scene, SceneError> {
    let mut container = Container::open(path)?;
    let document = Document::parse(&container.json)?;
    container.json = Vec::new();
    let mut scene = Scene::default();
    check_extensions(&document, &mut scene)?;
    validate::references(&document)?;
    let mut notes = Vec::new();
    let mut tally = Tally::default();

    let buffers = Buffers::load(&document, &mut container);
    let sampled = match &options.animation {
        Some(spec) => animation::sample(&document, &buffers, spec, &mut notes)?,
        None => animation::Sampled::default(),
    };
    let hierarchy = Hierarchy::resolve(&document, &sampled.poses)?;
    let placed = place(&document, &buffers, &hierarchy, &sampled.weights, &mut tally)?;

    let mut used = vec![false; document.materials.len() + 1];
    for job in &placed.jobs {
        used[material_index(&document, job)? as usize] = true;
    }
    let mut images = Images::new(&document);
    let materials = material::resolve(&document, &used, &mut images, &mut notes)?;
    scene.images = images.decode(&document, &buffers, &mut container)?;
    (scene.materials, scene.textures) = (materials.materials, materials.textures);

    let mesh_of_job = build_meshes(&document, &buffers, &placed.jobs, &materials.plans, &mut scene, &mut tally)?;
    scene.instances = instances(&placed.instances, &mesh_of_job, &scene, &mut tally)?;
    bvh::build_tlas(&mut scene);
    scene.emissive_triangles = emissive::list(&scene)?;
    scene.lights = light::collect(&document, &hierarchy)?;
    scene.cameras = camera::collect(&document, &hierarchy)?;

    notes.extend(tally.sentences());
    notes.dedup();
    if notes.len() > limits::SCENE_NOTES_MAX {
        let more = notes.len() - limits::SCENE_NOTES_MAX;
        notes.truncate(limits::SCENE_NOTES_MAX);
        notes.push(format!("{more} more notes were left out."));
    }
    let report = &mut scene.report;
    report.notes = notes;
    report.triangles = scene.meshes.iter().map(|mesh| mesh.triangles.len() as u64).sum();
    report.instances = scene.instances.len() as u64;
    report.texels = scene.images.iter().map(|image| u64::from(image.width) * u64::from(image.height)).sum();
    Ok(scene)
}

/// Refuses what the file requires and Kiln does not know; sorts the rest into the report.
fn check_extensions(document: &Document, scene: &mut Scene) -> SceneResult<()> {
    let known = |name: &String| EXTENSIONS.contains(&name.as_str());
    if let Some((at, name)) = document.extensions_required.iter().enumerate().find(|(_, name)| !known(name)) {
        return Err(SceneError::invalid(
            "validate",
            format!("The file requires the extension {name}, which Kiln does not understand; export it without."),
        )
        .at(format!("/extensionsRequired/{at}")));
    }
    let mut names: Vec<String> =
        document.extensions_used.iter().chain(&document.extensions_required).cloned().collect();
    names.sort();
    names.dedup();
    (scene.report.extensions_used, scene.report.extensions_ignored) = names.into_iter().partition(known);
    Ok(())
}

/// Meshes to build, and where they go.
struct Placed {
    jobs: Vec<MeshJob>,
    instances: Vec<PlacedInstance>,
}

struct PlacedInstance {
    job: u32,
    node: u32,
    world_from_object: DAffine3,
}

/// Decides which meshes must be built: one a primitive, shared by all nodes that show it in the same pose.
fn place(
    document: &Document,
    buffers: &Buffers,
    hierarchy: &Hierarchy,
    animated_weights: &HashMap<u32, Vec<f32>>,
    tally: &mut Tally,
) -> SceneResult<Placed> {
    let mut placed = Placed { jobs: Vec::new(), instances: Vec::new() };
    let mut known: HashMap<(u32, u32, Option<u32>, Vec<u32>), u32> = HashMap::new();
    let mut skins: HashMap<u32, Arc<[Affine3A]>> = HashMap::new();
    let mut triangles = 0;
    for &index in &hierarchy.visible {
        let node = &document.nodes[index as usize];
        let Some(mesh_index) = node.mesh else { continue };
        let mesh = get(&document.meshes, mesh_index, "meshes", &format!("/nodes/{index}/mesh"))?;
        let joints = match node.skin {
            None => None,
            Some(skin_index) => {
                let skin = get(&document.skins, skin_index, "skins", &format!("/nodes/{index}/skin"))?;
                let matrices = match skins.entry(skin_index) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let world_from_object = &hierarchy.world_from_object;
                        new.insert(skin::joint_matrices(document, buffers, skin_index, skin, world_from_object)?)
                    }
                };
                Some(&*matrices)
            }
        };
        let transforms = instance_transforms(document, buffers, node, index)?;
        let weights = animated_weights.get(&index).or(node.weights.as_ref()).or(mesh.weights.as_ref());
        for (primitive_index, primitive) in (0_u32..).zip(&mesh.primitives) {
            let weights: Vec<f32> = match weights {
                Some(weights) if !primitive.targets.is_empty() && weights.iter().any(|&weight| weight != 0.0) => {
                    weights.clone()
                }
                _ => Vec::new(),
            };
            if weights.iter().any(|weight| !weight.is_finite()) {
                return Err(SceneError::invalid("validate", "A morph weight is not finite.")
                    .at(format!("/nodes/{index}/weights")));
            }
            let skinned =
                primitive.attributes.contains_key("JOINTS_0") && primitive.attributes.contains_key("WEIGHTS_0");
            tally.skins_without_joints += u64::from(joints.is_some() && !skinned);
            let joints = joints.filter(|_| skinned);
            let key = (
                mesh_index,
                primitive_index,
                node.skin.filter(|_| skinned),
                weights.iter().map(|w| w.to_bits()).collect(),
            );
            let job = match known.get(&key) {
                Some(&job) => job,
                None => {
                    triangles += geometry::triangles_claimed(document, primitive);
                    if triangles > limits::TRIANGLES_MAX {
                        return Err(SceneError::limit(
                            "validate",
                            format!(
                                "The scene has more than {} triangles, counting each mesh once.",
                                limits::TRIANGLES_MAX
                            ),
                        )
                        .at(format!("/meshes/{mesh_index}/primitives/{primitive_index}")));
                    }
                    placed.jobs.push(MeshJob {
                        mesh: mesh_index,
                        primitive: primitive_index,
                        weights: weights.into(),
                        joints: joints.cloned(),
                    });
                    known.insert(key, placed.jobs.len() as u32 - 1);
                    placed.jobs.len() as u32 - 1
                }
            };
            if (placed.instances.len() + transforms.len()) as u64 > limits::INSTANCES_MAX {
                return Err(SceneError::limit(
                    "validate",
                    format!("The scene has more than {} instances.", limits::INSTANCES_MAX),
                )
                .at(format!("/nodes/{index}")));
            }
            let world = hierarchy.world_from_object[index as usize];
            for &transform in &transforms {
                // A skin already places its vertices in the world; the transform of the node does not count.
                let world_from_object = if joints.is_some() { DAffine3::IDENTITY } else { world * transform };
                placed.instances.push(PlacedInstance { job, node: index, world_from_object });
            }
        }
    }
    Ok(placed)
}

/// `EXT_mesh_gpu_instancing`: transforms of the copies within their node; the identity alone without it.
fn instance_transforms(document: &Document, buffers: &Buffers, node: &Node, index: u32) -> SceneResult<Vec<DAffine3>> {
    let Some(instancing) = node.extensions.as_ref().and_then(|extensions| extensions.instancing.as_ref()) else {
        return Ok(vec![DAffine3::IDENTITY]);
    };
    let place = format!("/nodes/{index}/extensions/EXT_mesh_gpu_instancing/attributes");
    let open = |name: &str, kind: &str| {
        let accessor = instancing.attributes.get(name).copied();
        accessor
            .map(|accessor| Elements::open(document, buffers, accessor, &[kind], &format!("{place}/{name}")))
            .transpose()
    };
    let (translations, rotations, scales) =
        (open("TRANSLATION", "VEC3")?, open("ROTATION", "VEC4")?, open("SCALE", "VEC3")?);
    for scale in [&translations, &scales].into_iter().flatten() {
        if scale.component != Component::F32 {
            return Err(SceneError::invalid("validate", "Translations and scales of instances must be floats.")
                .at(scale.pointer.clone()));
        }
    }
    let counts: Vec<usize> =
        [&translations, &rotations, &scales].into_iter().flatten().map(|elements| elements.count).collect();
    let Some(&count) = counts.first() else { return Ok(vec![DAffine3::IDENTITY]) };
    if counts.iter().any(|&other| other != count) {
        return Err(SceneError::invalid(
            "validate",
            format!("The instance attributes have {counts:?} elements; expected the same."),
        )
        .at(place));
    }
    if count as u64 > limits::INSTANCES_MAX {
        return Err(SceneError::limit(
            "validate",
            format!("The node has {count} instances; the limit is {}.", limits::INSTANCES_MAX),
        )
        .at(place));
    }
    (0..count)
        .map(|at| {
            let three = |elements: &Option<Elements>, default: f64| {
                elements.as_ref().map_or(DVec3::splat(default), |elements| {
                    DVec3::from_array(elements.floats::<3>(at).map(f64::from))
                })
            };
            let rotation = rotations
                .as_ref()
                .map_or(DQuat::IDENTITY, |elements| DQuat::from_array(elements.floats::<4>(at).map(f64::from)));
            let rotation = if rotation.length_squared() > 0.0 { rotation.normalize() } else { DQuat::IDENTITY };
            let transform =
                DAffine3::from_scale_rotation_translation(three(&scales, 1.0), rotation, three(&translations, 0.0));
            if transform.is_finite() {
                return Ok(transform);
            }
            Err(SceneError::invalid("validate", format!("The transform of instance {at} is not finite."))
                .at(place.clone()))
        })
        .collect()
}

fn material_index(document: &Document, job: &MeshJob) -> SceneResult<u32> {
    let primitive = &document.meshes[job.mesh as usize].primitives[job.primitive as usize];
    match primitive.material {
        None => Ok(document.materials.len() as u32),
        Some(material) => {
            let pointer = || format!("/meshes/{}/primitives/{}/material", job.mesh, job.primitive);
            get(&document.materials, material, "materials", &pointer()).map(|_| material)
        }
    }
}

/// Builds all meshes in parallel. Answers, for each job, the index of its mesh, or `None` where nothing was left of it.
fn build_meshes(
    document: &Document,
    buffers: &Buffers,
    jobs: &[MeshJob],
    plans: &[material::MaterialPlan],
    scene: &mut Scene,
    tally: &mut Tally,
) -> SceneResult<Vec<Option<u32>>> {
    let built: Vec<(SceneResult<Option<Mesh>>, Tally)> = jobs
        .par_iter()
        .map(|job| {
            let mut tally = Tally::default();
            let mesh = material_index(document, job)
                .and_then(|material| geometry::build(document, buffers, job, &plans[material as usize], &mut tally));
            (mesh, tally)
        })
        .collect();
    let mut mesh_of_job = Vec::with_capacity(jobs.len());
    for (mesh, counted) in built {
        tally.add(&counted);
        // In the order of the jobs, so that the error which is told is the first one, not the fastest.
        mesh_of_job.push(mesh?.map(|mesh| {
            scene.meshes.push(mesh);
            scene.meshes.len() as u32 - 1
        }));
    }
    Ok(mesh_of_job)
}

/// Instances with a transform that can be inverted, in the file's order.
fn instances(
    placed: &[PlacedInstance],
    mesh_of_job: &[Option<u32>],
    scene: &Scene,
    tally: &mut Tally,
) -> SceneResult<Vec<Instance>> {
    let mut instances = Vec::with_capacity(placed.len());
    for placed in placed {
        let Some(mesh) = mesh_of_job[placed.job as usize] else { continue };
        let matrix = skin::matrix_f32(placed.world_from_object);
        let world_from_object = Affine3A::from_mat4(matrix);
        let pointer = || format!("/nodes/{}", placed.node);
        if !world_from_object.is_finite() {
            return Err(geometry::too_far(&pointer()));
        }
        let instance = Instance { mesh, world_from_object, node: placed.node };
        let bounds = bvh::world_bounds(scene, &instance);
        let farthest = bounds.min.abs().max(bounds.max.abs()).max_element();
        if farthest.is_nan() || farthest > limits::COORDINATE_METRES_MAX {
            return Err(geometry::too_far(&pointer()));
        }
        let determinant = placed.world_from_object.matrix3.determinant();
        if determinant == 0.0 || !world_from_object.inverse().is_finite() {
            tally.singular_instances += 1;
            continue;
        }
        instances.push(instance);
    }
    Ok(instances)
}
