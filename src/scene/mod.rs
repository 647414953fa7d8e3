//! glTF → [`Scene`]: geometry, materials, textures, lights, cameras, animation, BVH.
//!
//! Owns everything between the user's bytes and the arrays that the path tracer uploads. Runs on the
//! loader threads of the GPU process. It deliberately knows nothing of wgpu, HTTP or jobs' life cycle.
//!
//! Spaces: glTF's own, right-handed, +Y up, metres. Colours are scene-linear Rec. 709 (invariant 8).

mod accessor;
pub mod alias;
mod animation;
pub mod bvh;
pub mod camera;
mod container;
mod document;
pub(crate) mod emissive;
pub mod environment;
mod error;
mod frame;
mod geometry;
mod image;
mod light;
mod load;
mod material;
mod morph;
mod nodes;
pub mod pack;
mod skin;
mod tally;
mod validate;

pub use error::{SceneError, SceneErrorKind, SceneResult};
pub use load::{EXTENSIONS, LoadOptions, load};

use glam::{Affine3A, Vec2, Vec3, Vec4};

/// A scene that is ready to be traced: every index in it is in range and every number finite.
#[derive(Debug, Default)]
pub struct Scene {
    /// Geometry, one entry a glTF primitive (or one a skinned or morphed instance of it).
    pub meshes: Vec<Mesh>,
    /// Placements of meshes in the world, in the leaf order of `tlas`.
    pub instances: Vec<Instance>,
    /// CWBVH over the world bounds of `instances`. Empty when there are none.
    pub tlas: Vec<CwBvhNode>,
    /// Materials; a mesh names one. The last one is glTF's default material.
    pub materials: Vec<Material>,
    /// Decoded pictures, base level only.
    pub images: Vec<Image>,
    /// A picture with a sampler. Materials name these.
    pub textures: Vec<Texture>,
    /// `KHR_lights_punctual`, in world space.
    pub lights: Vec<PunctualLight>,
    /// Every triangle that emits light, for next-event estimation.
    pub emissive_triangles: Vec<EmissiveTriangle>,
    /// The file's cameras, in world space, in the file's camera order of nodes.
    pub cameras: Vec<FileCamera>,
    /// World bounds of all geometry; `min > max` when there is none.
    pub bounds: Bounds,
    /// What was used, ignored and approximated.
    pub report: SceneReport,
}

/// 80 bytes, as in Ylitie et al. 2017, "Efficient Incoherent Ray Traversal on GPUs Through Compressed Wide BVHs".
pub use obvhs::cwbvh::node::CwBvhNode;

/// Axis-aligned bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Lower corner.
    pub min: Vec3,
    /// Upper corner.
    pub max: Vec3,
}

impl Default for Bounds {
    /// Empty bounds: `min` = +∞, `max` = −∞.
    fn default() -> Self {
        Self { min: Vec3::INFINITY, max: Vec3::NEG_INFINITY }
    }
}

impl Bounds {
    /// True where there is nothing inside.
    pub fn is_empty(&self) -> bool {
        !self.min.cmple(self.max).all()
    }

    /// Makes room for a point.
    pub fn extend(&mut self, point: Vec3) {
        self.min = self.min.min(point);
        self.max = self.max.max(point);
    }

    /// Makes room for other bounds.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The point in the middle.
    pub fn center(&self) -> Vec3 {
        0.5 * self.min + 0.5 * self.max
    }

    /// The eight corners.
    pub fn corners(&self) -> [Vec3; 8] {
        std::array::from_fn(|corner| {
            let pick = |axis: usize| if (corner >> axis) & 1 == 0 { self.min[axis] } else { self.max[axis] };
            Vec3::new(pick(0), pick(1), pick(2))
        })
    }
}

/// Triangles in object space, in the leaf order of `bvh`: `primitive_base_idx` of a node indexes `triangles`.
#[derive(Debug, Default)]
pub struct Mesh {
    /// Index into [`Scene::materials`].
    pub material: u32,
    /// Vertex indices of each triangle, counter-clockwise seen from the front in object space. Where `world_from_object`
    /// mirrors, that is clockwise in the world: the renderer turns the geometric normal around by the determinant's sign.
    pub triangles: Vec<[u32; 3]>,
    /// Object space, metres.
    pub positions: Vec<Vec3>,
    /// Unit length, object space; as long as `positions`.
    pub normals: Vec<Vec3>,
    /// xyz unit tangent in object space, w = ±1 handedness; empty if no normal map needs them.
    pub tangents: Vec<Vec4>,
    /// The first of the material's two UV slots, whichever of the file's TEXCOORD_n is in it; empty or as long as `positions`.
    pub uv0: Vec<Vec2>,
    /// The second UV slot; empty or as long as `positions`.
    pub uv1: Vec<Vec2>,
    /// COLOR_0, linear RGBA; empty or as long as `positions`.
    pub colors: Vec<Vec4>,
    /// CWBVH over `triangles`, at most 3 triangles a leaf.
    pub bvh: Vec<CwBvhNode>,
    /// Object-space bounds.
    pub bounds: Bounds,
}

/// One placement of a mesh.
#[derive(Debug, Clone, Copy)]
pub struct Instance {
    /// Index into [`Scene::meshes`].
    pub mesh: u32,
    /// World from object. Invertible (a singular one is dropped and reported); may mirror.
    pub world_from_object: Affine3A,
    /// Index of the glTF node, for AOVs and messages.
    pub node: u32,
}

/// What happens where alpha is below one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum AlphaMode {
    /// Alpha is ignored.
    #[default]
    Opaque,
    /// The surface is absent where alpha < cutoff.
    Mask {
        /// In [0, ∞).
        cutoff: f32,
    },
    /// The surface is there with probability alpha.
    Blend,
}

/// A texture as a material uses it.
#[derive(Debug, Clone, Copy)]
pub struct TextureRef {
    /// Index into [`Scene::textures`].
    pub texture: u32,
    /// 0 or 1: which UV set.
    pub uv_set: u32,
}

/// glTF metallic-roughness material. Factors are linear.
#[derive(Debug, Clone)]
pub struct Material {
    /// For messages.
    pub name: String,
    /// rgb and alpha, linear.
    pub base_color: Vec4,
    /// sRGB picture.
    pub base_color_texture: Option<TextureRef>,
    /// [0, 1].
    pub metallic: f32,
    /// [0, 1], perceptual (alpha of GGX = roughness²).
    pub roughness: f32,
    /// [0, 1]: factor on the reflection of the dielectric part (`KHR_materials_specular`), 1 without the extension.
    pub specular: f32,
    /// Linear picture: G roughness, B metallic.
    pub metallic_roughness_texture: Option<TextureRef>,
    /// Linear picture, tangent space.
    pub normal_texture: Option<TextureRef>,
    /// Scales x and y of the normal map.
    pub normal_scale: f32,
    /// Radiance, W/(sr·m²) by convention, emissive strength included.
    pub emission: Vec3,
    /// sRGB picture.
    pub emission_texture: Option<TextureRef>,
    /// See [`AlphaMode`].
    pub alpha_mode: AlphaMode,
    /// Back faces are shaded with the normal turned around; otherwise they are absent.
    pub double_sided: bool,
}

/// A decoded picture. Rows from top to bottom, as glTF's UV origin is the upper left.
#[derive(Debug, Clone)]
pub struct Image {
    /// Texels.
    pub width: u32,
    /// Texels.
    pub height: u32,
    /// RGBA, 8 bits each; `width * height * 4` bytes, as stored in the file (sRGB or linear).
    pub rgba8: Vec<u8>,
}

/// How texture coordinates outside [0, 1] are brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Wrap {
    /// Fractional part.
    #[default]
    Repeat,
    /// Nearest edge texel.
    Clamp,
    /// Every other repetition is mirrored.
    Mirror,
}

/// A picture with a sampler. Mip levels are not used: minification is integrated by the pixel's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Texture {
    /// Index into [`Scene::images`].
    pub image: u32,
    /// Horizontal wrap.
    pub wrap_u: Wrap,
    /// Vertical wrap.
    pub wrap_v: Wrap,
    /// Bilinear if true, else the nearest texel.
    pub linear_filter: bool,
    /// Texels are sRGB-encoded (alpha never is).
    pub srgb: bool,
}

/// A light without extent.
#[derive(Debug, Clone, Copy)]
pub enum PunctualLight {
    /// Shines in every direction.
    Point {
        /// Metres.
        position_world: Vec3,
        /// Radiant intensity, W/sr (glTF's candela without the photometric factor).
        intensity: Vec3,
        /// Metres; 0 = unlimited.
        range: f32,
    },
    /// Shines within a cone.
    Spot {
        /// Metres.
        position_world: Vec3,
        /// Unit, the cone's axis, away from the light.
        direction_world: Vec3,
        /// On the axis, W/sr.
        intensity: Vec3,
        /// Metres; 0 = unlimited.
        range: f32,
        /// Radians from the axis, up to which the intensity is whole.
        inner_cone: f32,
        /// Radians from the axis, from which on there is none; above `inner_cone`.
        outer_cone: f32,
    },
    /// Infinitely far away.
    Directional {
        /// Unit, in which the light travels.
        direction_world: Vec3,
        /// On a surface that faces it, W/m².
        irradiance: Vec3,
    },
}

/// A triangle that emits.
#[derive(Debug, Clone, Copy)]
pub struct EmissiveTriangle {
    /// Index into [`Scene::instances`].
    pub instance: u32,
    /// Index into that mesh's `triangles`.
    pub triangle: u32,
    /// Estimated power (luminance × area × π), for the choice of a light; never 0.
    pub power: f32,
    /// World-space area, m².
    pub area: f32,
}

/// A camera of the file, placed in the world.
#[derive(Debug, Clone)]
pub struct FileCamera {
    /// The camera's name.
    pub name: Option<String>,
    /// The name of its node.
    pub node_name: Option<String>,
    /// Index of the glTF camera; two nodes may share one.
    pub index: u32,
    /// The camera itself.
    pub camera: Camera,
    /// A sentence that says why nothing can be seen through it, e.g. a field of view of 0. [`camera::resolve`] refuses it.
    pub problem: Option<String>,
}

/// How a camera projects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Projection {
    /// Vertical field of view in radians, in (0, π).
    Perspective {
        /// Radians.
        fov_y: f32,
    },
    /// Half of the visible height, in metres.
    Orthographic {
        /// Metres.
        half_height: f32,
    },
}

/// A thin-lens camera in world space. Looks along −Z of its frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// Eye.
    pub position: Vec3,
    /// Unit, to the right of the picture.
    pub right: Vec3,
    /// Unit, up in the picture.
    pub up: Vec3,
    /// Unit, into the picture.
    pub forward: Vec3,
    /// See [`Projection`].
    pub projection: Projection,
    /// Radius of the lens in metres, 0 for a pinhole.
    pub aperture_radius: f32,
    /// Distance to the plane in focus, along `forward`, metres.
    pub focus_distance: f32,
}

/// What became of the file. Part of the job's report.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SceneReport {
    /// Extensions that were used and understood.
    pub extensions_used: Vec<String>,
    /// Extensions that the file uses and that were ignored.
    pub extensions_ignored: Vec<String>,
    /// Sentences: skipped points and lines, ignored occlusion, repaired normals, …
    pub notes: Vec<String>,
    /// Unique triangles.
    pub triangles: u64,
    /// Instances.
    pub instances: u64,
    /// Texels, base level.
    pub texels: u64,
}
