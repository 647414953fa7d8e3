//! What a render is told, beside the scene and the environment.

use super::layout;
use super::passes::tiles;
use crate::job::SceneSpec;
use crate::job::spec;
use crate::job::spec::EnvironmentSpec;
use crate::scene::{Camera, Projection};

/// What primary rays that miss the scene show.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Background {
    /// The environment.
    #[default]
    Environment,
    /// Nothing: alpha 0.
    Transparent,
    /// Scene-linear Rec. 709 radiance, with alpha 1.
    Color([f32; 3]),
}

/// How a scene is rendered. Two renders with equal settings, scenes and environments have equal bytes, whatever `slice_paths` is.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSettings {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Samples per pixel, at least 1.
    pub samples: u32,
    /// 0 shows emission only, 1 adds direct light.
    pub max_bounces: u32,
    /// Seed of every random decision.
    pub seed: u32,
    /// Largest luminance of an indirect contribution; 0 = any.
    pub clamp_indirect: f32,
    /// In world space.
    pub camera: Camera,
    /// See [`Background`].
    pub background: Background,
    /// Factor on the environment's radiance.
    pub environment_intensity: f32,
    /// Turns the environment about +Y, counter-clockwise seen from above.
    pub environment_rotation_rad: f32,
    /// Paths in one batch; for tests. `None` adapts them to the device.
    pub slice_paths: Option<u32>,
}

impl RenderSettings {
    /// The settings that a job asks for, with its camera found.
    pub fn new(spec: &SceneSpec, camera: Camera) -> Self {
        let (intensity, rotation_deg) = match &spec.environment {
            EnvironmentSpec::Preset(preset) => (preset.intensity, preset.rotation_deg),
            EnvironmentSpec::Asset(asset) => (asset.intensity, asset.rotation_deg),
        };
        Self {
            width: spec.size[0],
            height: spec.size[1],
            samples: spec.samples,
            max_bounces: spec.max_bounces,
            seed: spec.seed,
            clamp_indirect: spec.clamp_indirect,
            camera,
            background: match spec.background {
                spec::Background::Environment => Background::Environment,
                // A colour of the page is laid behind the picture when it is encoded, past exposure and curve.
                spec::Background::Transparent | spec::Background::Color(_) => Background::Transparent,
            },
            environment_intensity: intensity,
            environment_rotation_rad: rotation_deg.to_radians(),
            slice_paths: None,
        }
    }

    /// The camera in the form that kernels read.
    pub(super) fn camera_params(&self) -> layout::Camera {
        let camera = &self.camera;
        let aspect = self.width as f32 / self.height as f32;
        let (half_height, orthographic) = match camera.projection {
            Projection::Perspective { fov_y } => ((0.5 * fov_y).tan(), 0),
            Projection::Orthographic { half_height } => (half_height, 1),
        };
        layout::Camera {
            position: camera.position.to_array(),
            aperture_radius: camera.aperture_radius,
            right: camera.right.to_array(),
            half_width: half_height * aspect,
            up: camera.up.to_array(),
            half_height,
            forward: camera.forward.to_array(),
            focus_distance: camera.focus_distance,
            orthographic,
            pad_0: 0,
            pad_1: 0,
            pad_2: 0,
        }
    }

    /// Tiles of 8×8 pixels that cover the picture.
    pub(super) fn tiles(&self) -> [u32; 2] {
        tiles(self.width, self.height)
    }

    /// Places in the work order: 64 a tile.
    pub(super) fn order_count(&self) -> u32 {
        let [x, y] = self.tiles();
        64 * x * y
    }
}
