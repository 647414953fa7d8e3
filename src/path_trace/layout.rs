//! Host side of the structures in `shaders/lib/types.wgsl`, member for member. The test `layout` compares both.
#![allow(missing_docs, reason = "the members are documented in shaders/lib/types.wgsl, once")]

use bytemuck::{Pod, Zeroable};

/// "No such thing", wherever an index is expected.
pub const NONE: u32 = u32::MAX;

pub const INSTANCE_MIRRORED: u32 = 1;
pub const INSTANCE_ALPHA: u32 = 2;
pub const INSTANCE_DOUBLE_SIDED: u32 = 4;
pub const INSTANCE_TANGENTS: u32 = 8;
pub const INSTANCE_COLORS: u32 = 16;

pub const MATERIAL_MASK: u32 = 1;
pub const MATERIAL_BLEND: u32 = 2;
pub const MATERIAL_DOUBLE_SIDED: u32 = 4;

/// Declares a mirrored structure, and how the test finds its members.
macro_rules! mirrored {
    ($($(#[$meta:meta])* $name:ident { $($member:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
            pub struct $name { $(pub $member: $ty,)* }
        )*

        /// Name, size and (member, offset) of every mirrored structure.
        pub fn mirrored_structures() -> Vec<(&'static str, usize, Vec<(&'static str, usize)>)> {
            vec![$((
                stringify!($name),
                size_of::<$name>(),
                vec![$((stringify!($member), std::mem::offset_of!($name, $member)),)*],
            ),)*]
        }
    };
}

mirrored! {
    /// All that a render, a batch and the camera have in common.
    Params {
        camera: Camera,
        background: [f32; 3],
        background_mode: u32,
        size: [u32; 2],
        tiles: [u32; 2],
        tile_stride: u32,
        batch_samples: u32,
        seed: u32,
        max_bounces: u32,
        first_turn: u32,
        first_sample: u32,
        slot_count: u32,
        film_first: u32,
        film_tiles: u32,
        clamp_indirect: f32,
        environment_probability: f32,
        emitter_count: u32,
        root_node: u32,
        pad_0: u32,
        pad_1: u32,
        pad_2: u32,
        environment: EnvironmentParams,
    }
    /// How the environment is looked up.
    EnvironmentParams {
        size: [u32; 2],
        intensity: f32,
        weight_sum: f32,
        rotation: [f32; 2],
        pad: [f32; 2],
    }
    /// A thin lens, or a parallel projection.
    Camera {
        position: [f32; 3],
        aperture_radius: f32,
        right: [f32; 3],
        half_width: f32,
        up: [f32; 3],
        half_height: f32,
        forward: [f32; 3],
        focus_distance: f32,
        orthographic: u32,
        pad_0: u32,
        pad_1: u32,
        pad_2: u32,
    }
    /// A placement of a mesh.
    Instance {
        object_from_world: [[f32; 4]; 3],
        world_from_object: [[f32; 4]; 3],
        root_node: u32,
        material: u32,
        flags: u32,
        emitter_base: u32,
    }
    /// A material.
    Material {
        base_color: [f32; 4],
        emission: [f32; 3],
        alpha_cutoff: f32,
        metallic: f32,
        roughness: f32,
        normal_scale: f32,
        flags: u32,
        base_color_texture: u32,
        metallic_roughness_texture: u32,
        normal_texture: u32,
        emission_texture: u32,
        specular: f32,
        pad0: u32,
        pad1: u32,
        pad2: u32,
    }
    /// A texture's place and reading.
    Texture {
        offset: u32,
        size: u32,
        flags: u32,
        pad: u32,
    }
    /// A light that can be chosen.
    Emitter {
        alias_threshold: f32,
        alias_index: u32,
        probability: f32,
        instance: u32,
        index: u32,
        area: f32,
        pad: [u32; 2],
    }
    /// A light without extent.
    PunctualLight {
        position: [f32; 3],
        kind: u32,
        direction: [f32; 3],
        range: f32,
        intensity: [f32; 3],
        inner_cone: f32,
        outer_cone: f32,
        pad_0: u32,
        pad_1: u32,
        pad_2: u32,
    }
    /// A path's next ray.
    PathRay {
        origin: [f32; 3],
        pdf: f32,
        direction: [f32; 3],
        pad: u32,
    }
    /// What a ray met.
    Hit {
        instance: u32,
        triangle: u32,
        barycentrics: [f32; 2],
    }
    /// What a path carries.
    PathState {
        throughput: [f32; 3],
        pad: u32,
        radiance: [f32; 3],
        alpha: f32,
    }
    /// A connection to a light.
    ShadowRay {
        origin: [f32; 3],
        t_max: f32,
        direction: [f32; 3],
        pad_0: u32,
        contribution: [f32; 3],
        pad_1: u32,
    }
    /// Lengths of queues and totals.
    Counters {
        next_counts: [u32; 8],
        shadow_next_counts: [u32; 8],
        active_counts: [u32; 8],
        shadow_counts: [u32; 8],
        active_count: u32,
        shadow_count: u32,
        bounce: u32,
        nan_count: u32,
        rays_primary: [u32; 2],
        rays_bounced: [u32; 2],
        rays_shadow: [u32; 2],
        pad: [u32; 2],
        active_workgroups: [u32; 3],
        pad_0: u32,
        shadow_workgroups: [u32; 3],
        pad_1: u32,
    }
}
