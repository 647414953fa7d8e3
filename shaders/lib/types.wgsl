// Structures that the host mirrors (`src/path_trace/layout.rs`), and those that kernels hand to each other. The test `layout`
// compares every offset and size with the host's.

/// "No such thing", wherever an index is expected.
const NONE: u32 = 0xffffffffu;
/// Farther than anything.
const T_INFINITE: f32 = 3.0e38;

/// The transform turns triangles inside out.
const INSTANCE_MIRRORED: u32 = 1u;
/// Some of its surface may be absent: alpha mask or blend.
const INSTANCE_ALPHA: u32 = 2u;
/// Back faces are there.
const INSTANCE_DOUBLE_SIDED: u32 = 4u;
/// Its vertices carry tangents.
const INSTANCE_TANGENTS: u32 = 8u;
/// Its vertices carry colours.
const INSTANCE_COLORS: u32 = 16u;

/// Alpha is compared with `alpha_cutoff`.
const MATERIAL_MASK: u32 = 1u;
/// The surface is there with probability alpha.
const MATERIAL_BLEND: u32 = 2u;
/// Both sides emit and are shaded.
const MATERIAL_DOUBLE_SIDED: u32 = 4u;

/// What primary rays see that miss.
const BACKGROUND_ENVIRONMENT: u32 = 0u;
const BACKGROUND_TRANSPARENT: u32 = 1u;
const BACKGROUND_COLOR: u32 = 2u;

/// All that a render, a batch and the camera have in common. Uniform.
struct Params {
    camera: Camera,
    /// Radiance of the background, where it is a colour.
    background: vec3f,
    background_mode: u32,
    /// Pixels.
    size: vec2u,
    /// Tiles of 8×8 pixels that cover the picture.
    tiles: vec2u,
    /// In turn t of a part of the film is its tile `t * tile_stride mod film_tiles`.
    tile_stride: u32,
    /// Samples that the batch adds to each of its places.
    batch_samples: u32,
    seed: u32,
    max_bounces: u32,
    /// The batch: each place, from the one in this turn on …
    first_turn: u32,
    /// … gets `batch_samples` samples from this one on: 64 slots for one sample of 64 places, then 64 for the next sample of the same.
    first_sample: u32,
    slot_count: u32,
    /// Place in the work order that the bound part of the film starts with.
    film_first: u32,
    /// Tiles in that part.
    film_tiles: u32,
    /// Largest luminance of an indirect contribution; 0 = any.
    clamp_indirect: f32,
    /// Probability that next-event estimation asks the environment.
    environment_probability: f32,
    /// Emissive triangles and punctual lights.
    emitter_count: u32,
    /// Node that traversal starts with.
    root_node: u32,
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
    environment: EnvironmentParams,
}

/// How the environment is looked up.
struct EnvironmentParams {
    /// Texels.
    size: vec2u,
    /// Factor on its radiance.
    intensity: f32,
    /// Sum over texels of luminance × sinθ, before `intensity`; 0 = black.
    weight_sum: f32,
    /// Cosine and sine of the rotation about +Y.
    rotation: vec2f,
    pad: vec2f,
}

/// A thin lens, or a parallel projection, in world space.
struct Camera {
    position: vec3f,
    /// Metres; 0 = pinhole.
    aperture_radius: f32,
    right: vec3f,
    /// Half of the picture's width: at distance 1, or in metres for a parallel projection.
    half_width: f32,
    up: vec3f,
    half_height: f32,
    forward: vec3f,
    /// Metres along `forward`.
    focus_distance: f32,
    /// 1 = orthographic.
    orthographic: u32,
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
}

/// A placement of a mesh. Rows of 3×4 matrices.
struct Instance {
    object_from_world: array<vec4f, 3>,
    world_from_object: array<vec4f, 3>,
    /// Of its mesh.
    root_node: u32,
    material: u32,
    /// `INSTANCE_…`.
    flags: u32,
    /// Into `emitter_of_triangle`, less the mesh's first triangle (wraps around); NONE if it does not emit.
    emitter_base: u32,
}

struct Material {
    base_color: vec4f,
    emission: vec3f,
    alpha_cutoff: f32,
    metallic: f32,
    roughness: f32,
    normal_scale: f32,
    /// `MATERIAL_…`.
    flags: u32,
    /// Index of a texture, with bit 31 set for the second UV set; NONE without one.
    base_color_texture: u32,
    metallic_roughness_texture: u32,
    normal_texture: u32,
    emission_texture: u32,
    specular: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

/// Where a texture's texels are, and how they are read.
struct Texture {
    /// First texel in its pool.
    offset: u32,
    /// Width | height << 16, less one each.
    size: u32,
    /// Bits 0–1 and 2–3: wrap of u and v (0 repeat, 1 clamp, 2 mirror). Bit 4: bilinear. Bit 5: sRGB. Bits 8–9: pool.
    flags: u32,
    pad: u32,
}

/// A light that next-event estimation can choose, with Walker's alias table inlined.
struct Emitter {
    /// This one is taken where the fraction of the random number is below; else `alias_index`.
    alias_threshold: f32,
    alias_index: u32,
    /// Probability that it is chosen, among emitters.
    probability: f32,
    /// An instance, or NONE for a punctual light.
    instance: u32,
    /// A triangle (absolute), or an index into `lights`.
    index: u32,
    /// World-space area of the triangle, m².
    area: f32,
    pad: vec2u,
}

/// Type 0 point, 1 spot, 2 directional.
struct PunctualLight {
    position: vec3f,
    kind: u32,
    direction: vec3f,
    /// Metres; 0 = unlimited.
    range: f32,
    /// Radiant intensity, or irradiance.
    intensity: vec3f,
    /// Radians from the axis.
    inner_cone: f32,
    outer_cone: f32,
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
}

/// A path's next ray, in world space.
struct PathRay {
    origin: vec3f,
    /// Solid-angle density with which `direction` was sampled; 0 after a camera ray.
    pdf: f32,
    direction: vec3f,
    pad: u32,
}

/// What a ray met.
struct Hit {
    /// NONE: nothing.
    instance: u32,
    /// Absolute.
    triangle: u32,
    /// Barycentric weights of the second and third vertex.
    barycentrics: vec2f,
}

/// What a path carries.
struct PathState {
    throughput: vec3f,
    pad: u32,
    /// Radiance that has reached the camera so far.
    radiance: vec3f,
    /// 1 where something was there, 0 where a transparent background shows.
    alpha: f32,
}

/// A connection to a light that is still to be tested.
struct ShadowRay {
    origin: vec3f,
    /// The light is at `origin + t_max * direction`, or beyond everything.
    t_max: f32,
    direction: vec3f,
    pad_0: u32,
    /// Added to the path's radiance if nothing is in between.
    contribution: vec3f,
    pad_1: u32,
}

/// Lengths of the queues, and totals of the render. Written by `advance` and by appends.
struct Counters {
    /// Appended to by `generate` and `shade`, by bin.
    next_counts: array<atomic<u32>, 8>,
    shadow_next_counts: array<atomic<u32>, 8>,
    /// What `extend` and `shade` read, by bin.
    active_counts: array<u32, 8>,
    /// What `shadow` reads, by bin.
    shadow_counts: array<u32, 8>,
    /// Their sums.
    active_count: u32,
    shadow_count: u32,
    /// 0 at the camera ray.
    bounce: u32,
    nan_count: atomic<u32>,
    /// 64-bit totals, low word first.
    rays_primary: vec2u,
    rays_bounced: vec2u,
    rays_shadow: vec2u,
    pad: vec2u,
    /// Workgroups for `extend` and `shade`, and for `shadow`; copied to where dispatches read them.
    active_workgroups: vec3u,
    pad_0: u32,
    shadow_workgroups: vec3u,
    pad_1: u32,
}
