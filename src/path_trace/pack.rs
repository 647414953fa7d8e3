//! Scene → the arrays that kernels read. Runs on a loader thread, before the device thread sees the work.

use super::flat;
use super::layout::{self, NONE};
use super::lights::{self, PackedLights};
use crate::device::DeviceError;
use crate::scene::{self, AlphaMode, CwBvhNode, Scene, TextureRef, Wrap, bvh};
use bytemuck::Zeroable;
use glam::{Vec2, Vec3};

/// What a scene uses: the override constants of `shaders/lib/features.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// One tree over all triangles in world space: see [`super::flat`].
    pub flat: bool,
    /// Some surface may be absent.
    pub alpha: bool,
    /// Some material has a texture.
    pub textures: bool,
    /// Some material has a normal map.
    pub normal_maps: bool,
    /// Vertex colours, or a second UV set that is used.
    pub vertex_extras: bool,
    /// Some material emits.
    pub emissive_triangles: bool,
    /// There are punctual lights.
    pub punctual_lights: bool,
    /// A traversal stack of [`STACK_ENTRIES`] may be too short.
    pub deep: bool,
}

/// Entries of the traversal stack in `shaders/lib/traverse.wgsl`, as written there.
pub const STACK_ENTRIES: u32 = 32;

/// A scene in the form that kernels read, but for the limits of one adapter.
pub struct PackedScene {
    /// Names the content: two packed scenes with one key are equal. `None`: nobody knows it by a name.
    pub key: Option<String>,
    /// TLAS, then each mesh's BVH; or the flat tree alone.
    pub nodes: Vec<CwBvhNode>,
    /// Where traversal starts.
    pub root_node: u32,
    /// Three words a triangle: those of all meshes, then those of the flat tree.
    pub triangles: Vec<[f32; 4]>,
    /// Two words a vertex.
    pub vertices: Vec<[u32; 4]>,
    /// By scene index.
    pub instances: Vec<layout::Instance>,
    /// By scene index.
    pub materials: Vec<layout::Material>,
    /// Textures that are used.
    pub textures: Vec<scene::Texture>,
    /// Pictures that are used, as they come out of the scene.
    pub images: Vec<PackedImage>,
    /// Lights.
    pub lights: PackedLights,
    /// What is used.
    pub features: Features,
}

impl PackedScene {
    /// Bytes of the arrays, which is about what they take on the device.
    pub fn bytes(&self) -> u64 {
        let arrays = size_of_val(self.nodes.as_slice())
            + size_of_val(self.triangles.as_slice())
            + size_of_val(self.vertices.as_slice())
            + size_of_val(self.instances.as_slice())
            + size_of_val(self.materials.as_slice())
            + size_of_val(self.lights.lights.as_slice())
            + size_of_val(self.lights.emitters.as_slice())
            + size_of_val(self.lights.emitter_of_triangle.as_slice());
        arrays as u64 + self.images.iter().map(|image| image.rgba8.len() as u64).sum::<u64>()
    }
}

/// A picture's texels.
pub struct PackedImage {
    /// Texels.
    pub width: u32,
    /// Texels.
    pub height: u32,
    /// As [`scene::Image::rgba8`].
    pub rgba8: Vec<u8>,
}

/// Packs a scene.
///
/// # Errors
/// [`DeviceError::Limit`] when a count leaves the range of 32-bit indices.
pub fn pack(scene: &Scene) -> Result<PackedScene, DeviceError> {
    let nodes_total = scene.tlas.len() + scene.meshes.iter().map(|mesh| mesh.bvh.len()).sum::<usize>();
    let triangles_total: usize = scene.meshes.iter().map(|mesh| mesh.triangles.len()).sum();
    let vertices_total: usize = scene.meshes.iter().map(|mesh| mesh.positions.len()).sum();
    for (what, count) in [("BVH nodes", nodes_total), ("triangles", triangles_total), ("vertices", vertices_total)] {
        // Indices are multiplied by up to five in the kernels.
        if count > (u32::MAX / 5) as usize {
            let most = u32::MAX / 5;
            return Err(DeviceError::Limit(format!("the scene has {count} {what}, and at most {most} can be indexed")));
        }
    }

    let mut nodes = Vec::with_capacity(nodes_total.max(1));
    nodes.extend_from_slice(&scene.tlas);
    if nodes.is_empty() {
        // An empty scene still needs a root; this one has no children.
        nodes.push(CwBvhNode::zeroed());
    }
    let mut triangles = Vec::with_capacity(3 * triangles_total);
    let mut vertices = Vec::with_capacity(2 * vertices_total);
    let mut placed = Vec::with_capacity(scene.meshes.len());
    for mesh in &scene.meshes {
        let place = MeshPlace { root_node: nodes.len() as u32, first_triangle: (triangles.len() / 3) as u32 };
        let first_vertex = (vertices.len() / 2) as u32;
        nodes.extend(mesh.bvh.iter().map(|node| CwBvhNode {
            child_base_idx: node.child_base_idx + place.root_node,
            primitive_base_idx: node.primitive_base_idx + place.first_triangle,
            ..*node
        }));
        for &corners in &mesh.triangles {
            let [a, b, c] = corners.map(|vertex| mesh.positions[vertex as usize]);
            let index = |corner: usize| f32::from_bits(first_vertex + corners[corner]);
            triangles.extend([
                a.extend(index(0)).to_array(),
                (b - a).extend(index(1)).to_array(),
                (c - a).extend(index(2)).to_array(),
            ]);
        }
        pack_vertices(mesh, &mut vertices);
        placed.push(place);
    }

    let used = UsedTextures::of(scene);
    let first_triangles: Vec<u32> = placed.iter().map(|place| place.first_triangle).collect();
    let lights = lights::pack(scene, &first_triangles);
    let instances: Vec<layout::Instance> = scene
        .instances
        .iter()
        .enumerate()
        .map(|(i, instance)| {
            let mesh = &scene.meshes[instance.mesh as usize];
            let place = &placed[instance.mesh as usize];
            pack_instance(scene, instance, mesh, place, lights.emitter_bases[i])
        })
        .collect();
    let materials: Vec<layout::Material> =
        scene.materials.iter().map(|material| pack_material(material, &used)).collect();
    let flat = flat::lay_flat(scene, &first_triangles, &instances);
    let flat_levels = flat.as_ref().map(|flat| bvh::levels(&flat.tree.nodes));
    if let Some(flat) = flat {
        let first = (triangles.len() / 3) as u32;
        nodes = flat.tree.nodes;
        nodes.iter_mut().for_each(|node| node.primitive_base_idx += first);
        triangles.extend(flat.triangles);
    }
    let alpha = |instance: &layout::Instance| instance.flags & layout::INSTANCE_ALPHA != 0;
    let deepest_mesh = scene.meshes.iter().map(|mesh| bvh::levels(&mesh.bvh)).max().unwrap_or(0);
    let any_texture =
        |pick: fn(&scene::Material) -> Option<TextureRef>| scene.materials.iter().any(|m| pick(m).is_some());
    let second_uv_set = scene
        .materials
        .iter()
        .flat_map(|m| [m.base_color_texture, m.metallic_roughness_texture, m.normal_texture, m.emission_texture])
        .flatten()
        .any(|reference| reference.uv_set == 1);
    let features = Features {
        flat: flat_levels.is_some(),
        alpha: instances.iter().any(alpha),
        textures: !used.textures.is_empty(),
        normal_maps: any_texture(|m| m.normal_texture),
        vertex_extras: second_uv_set || scene.meshes.iter().any(|mesh| !mesh.colors.is_empty()),
        emissive_triangles: scene.materials.iter().any(|m| m.emission != Vec3::ZERO),
        punctual_lights: !scene.lights.is_empty(),
        // A level of a mesh keeps one group waiting, one of the TLAS two.
        deep: flat_levels.unwrap_or(2 * bvh::levels(&scene.tlas) + deepest_mesh) > STACK_ENTRIES,
    };
    let images = used.images.iter().map(|&image| {
        let image = &scene.images[image as usize];
        PackedImage { width: image.width, height: image.height, rgba8: image.rgba8.clone() }
    });
    Ok(PackedScene {
        key: None,
        root_node: 0,
        nodes,
        triangles,
        vertices,
        instances,
        materials,
        images: images.collect(),
        textures: used.textures,
        lights,
        features,
    })
}

/// Where a mesh's arrays start.
struct MeshPlace {
    root_node: u32,
    first_triangle: u32,
}

fn pack_instance(
    scene: &Scene,
    instance: &scene::Instance,
    mesh: &scene::Mesh,
    place: &MeshPlace,
    emitter_base: Option<u32>,
) -> layout::Instance {
    let material = &scene.materials[mesh.material as usize];
    let world_from_object = instance.world_from_object;
    let object_from_world = world_from_object.inverse();
    let mut flags = 0;
    let mut flag = |bit: u32, on: bool| flags |= if on { bit } else { 0 };
    flag(layout::INSTANCE_MIRRORED, world_from_object.matrix3.determinant() < 0.0);
    flag(layout::INSTANCE_ALPHA, material.alpha_mode != AlphaMode::Opaque);
    flag(layout::INSTANCE_DOUBLE_SIDED, material.double_sided);
    flag(layout::INSTANCE_TANGENTS, mesh.tangents.len() == mesh.positions.len());
    flag(layout::INSTANCE_COLORS, mesh.colors.len() == mesh.positions.len());
    layout::Instance {
        object_from_world: rows(&object_from_world),
        world_from_object: rows(&world_from_object),
        root_node: place.root_node,
        material: mesh.material,
        flags,
        // Kernels add the absolute index of a triangle; the sum wraps around.
        emitter_base: emitter_base.map_or(NONE, |base| base.wrapping_sub(place.first_triangle)),
    }
}

/// Rows of a 3×4 matrix.
fn rows(transform: &glam::Affine3A) -> [[f32; 4]; 3] {
    let [x, y, z] = [transform.matrix3.x_axis, transform.matrix3.y_axis, transform.matrix3.z_axis];
    let t = transform.translation;
    [0, 1, 2].map(|row| [x[row], y[row], z[row], t[row]])
}

fn pack_vertices(mesh: &scene::Mesh, vertices: &mut Vec<[u32; 4]>) {
    for i in 0..mesh.positions.len() {
        let normal = mesh.normals.get(i).copied().unwrap_or(Vec3::Z);
        let uv0 = mesh.uv0.get(i).copied().unwrap_or(Vec2::ZERO);
        let uv1 = mesh.uv1.get(i).copied().unwrap_or(Vec2::ZERO);
        let tangent = mesh.tangents.get(i).copied().unwrap_or(glam::Vec4::new(1.0, 0.0, 0.0, 1.0));
        let color = mesh.colors.get(i).copied().unwrap_or(glam::Vec4::ONE);
        let half = |value: f32| u32::from(half::f16::from_f32(value).to_bits());
        vertices.extend([
            [pack_normal(normal), pack_tangent(tangent), uv0.x.to_bits(), uv0.y.to_bits()],
            [
                uv1.x.to_bits(),
                uv1.y.to_bits(),
                half(color.x) | half(color.y) << 16,
                half(color.z) | half(color.w) << 16,
            ],
        ]);
    }
}

/// Octahedral map of a unit vector onto [−1, 1]² (Cigolle et al. 2014, listing 1).
fn octahedral_encode(v: Vec3) -> Vec2 {
    let sum = v.x.abs() + v.y.abs() + v.z.abs();
    if sum.is_nan() || sum <= 0.0 {
        return Vec2::ZERO;
    }
    let v = v / sum;
    if v.z >= 0.0 {
        return Vec2::new(v.x, v.y);
    }
    let sign = |x: f32| if x >= 0.0 { 1.0 } else { -1.0 };
    Vec2::new((1.0 - v.y.abs()) * sign(v.x), (1.0 - v.x.abs()) * sign(v.y))
}

fn pack_normal(normal: Vec3) -> u32 {
    let e = octahedral_encode(normal);
    let snorm16 = |x: f32| u32::from((x.clamp(-1.0, 1.0) * 32767.0).round() as i16 as u16);
    snorm16(e.x) | snorm16(e.y) << 16
}

/// 15 bits for each of two octahedral coordinates, and the sign.
fn pack_tangent(tangent: glam::Vec4) -> u32 {
    let e = octahedral_encode(tangent.truncate());
    let bits = |x: f32| ((x.clamp(-1.0, 1.0) * 16383.0).round() as i32 + 16383) as u32;
    bits(e.x) | bits(e.y) << 15 | if tangent.w < 0.0 { 1 << 31 } else { 0 }
}

fn pack_material(material: &scene::Material, used: &UsedTextures) -> layout::Material {
    let reference = |texture: Option<TextureRef>| {
        texture.map_or(NONE, |reference| used.place[reference.texture as usize] | (reference.uv_set & 1) << 31)
    };
    let (mode, alpha_cutoff) = match material.alpha_mode {
        AlphaMode::Opaque => (0, 0.0),
        AlphaMode::Mask { cutoff } => (layout::MATERIAL_MASK, cutoff),
        AlphaMode::Blend => (layout::MATERIAL_BLEND, 0.0),
    };
    layout::Material {
        base_color: material.base_color.to_array(),
        emission: material.emission.to_array(),
        alpha_cutoff,
        metallic: material.metallic,
        roughness: material.roughness,
        normal_scale: material.normal_scale,
        flags: mode | if material.double_sided { layout::MATERIAL_DOUBLE_SIDED } else { 0 },
        base_color_texture: reference(material.base_color_texture),
        metallic_roughness_texture: reference(material.metallic_roughness_texture),
        normal_texture: reference(material.normal_texture),
        emission_texture: reference(material.emission_texture),
        specular: material.specular,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    }
}

/// Textures and pictures that some material uses, renumbered.
struct UsedTextures {
    /// New index of each of the scene's textures, or NONE.
    place: Vec<u32>,
    /// With `image` renumbered.
    textures: Vec<scene::Texture>,
    /// The scene's indices.
    images: Vec<u32>,
}

impl UsedTextures {
    fn of(scene: &Scene) -> Self {
        let mut used = Self { place: vec![NONE; scene.textures.len()], textures: Vec::new(), images: Vec::new() };
        let mut image_place = vec![NONE; scene.images.len()];
        let references = scene
            .materials
            .iter()
            .flat_map(|m| [m.base_color_texture, m.metallic_roughness_texture, m.normal_texture, m.emission_texture]);
        for reference in references.flatten() {
            let place = &mut used.place[reference.texture as usize];
            if *place != NONE {
                continue;
            }
            *place = used.textures.len() as u32;
            let texture = scene.textures[reference.texture as usize];
            let image = &mut image_place[texture.image as usize];
            if *image == NONE {
                *image = used.images.len() as u32;
                used.images.push(texture.image);
            }
            used.textures.push(scene::Texture { image: *image, ..texture });
        }
        used
    }
}

/// How a texture's sampler looks in [`layout::Texture::flags`], without the pool.
pub fn texture_flags(texture: &scene::Texture) -> u32 {
    let wrap = |wrap: Wrap| match wrap {
        Wrap::Repeat => 0,
        Wrap::Clamp => 1,
        Wrap::Mirror => 2,
    };
    wrap(texture.wrap_u)
        | wrap(texture.wrap_v) << 2
        | u32::from(texture.linear_filter) << 4
        | u32::from(texture.srgb) << 5
}
