//! Lights → the tables that next-event estimation chooses from.

use super::layout::{self, NONE};
use crate::scene::alias::alias_table;
use crate::scene::emissive::luminance;
use crate::scene::{PunctualLight, Scene};
use std::f32::consts::PI;

/// Emissive triangles and punctual lights, ready for the kernels.
pub struct PackedLights {
    /// Punctual lights.
    pub lights: Vec<layout::PunctualLight>,
    /// All that can be chosen.
    pub emitters: Vec<layout::Emitter>,
    /// Emitter of each triangle of each emissive instance.
    pub emitter_of_triangle: Vec<u32>,
    /// Where each instance's part of that starts.
    pub emitter_bases: Vec<Option<u32>>,
    /// Estimated power of all of them, in watts by convention.
    pub power: f64,
    /// Radius of a sphere around the scene, metres; at least a little.
    pub scene_radius: f32,
}

/// Packs the lights. `first_triangles` is where each mesh's triangles start.
pub fn pack(scene: &Scene, first_triangles: &[u32]) -> PackedLights {
    let extent = scene.bounds.max - scene.bounds.min;
    let scene_radius = if extent.is_finite() && extent.min_element() >= 0.0 { 0.5 * extent.length() } else { 0.0 };
    let scene_radius = scene_radius.max(1.0e-6);

    let mut emitter_of_triangle = Vec::new();
    let mut emitter_bases = vec![None; scene.instances.len()];
    let mut emitters = Vec::with_capacity(scene.emissive_triangles.len() + scene.lights.len());
    let mut weights = Vec::with_capacity(emitters.capacity());
    for triangle in &scene.emissive_triangles {
        let mesh_index = scene.instances[triangle.instance as usize].mesh as usize;
        let base = *emitter_bases[triangle.instance as usize].get_or_insert_with(|| {
            // Kernels add `base − first triangle`, and that must never look like NONE.
            if emitter_of_triangle.len() as u32 + 1 == first_triangles[mesh_index] {
                emitter_of_triangle.push(NONE);
            }
            let base = emitter_of_triangle.len() as u32;
            emitter_of_triangle.resize(emitter_of_triangle.len() + scene.meshes[mesh_index].triangles.len(), NONE);
            base
        });
        emitter_of_triangle[(base + triangle.triangle) as usize] = emitters.len() as u32;
        emitters.push(emitter(triangle.instance, first_triangles[mesh_index] + triangle.triangle, triangle.area));
        weights.push(triangle.power);
    }
    for (index, light) in scene.lights.iter().enumerate() {
        emitters.push(emitter(NONE, index as u32, 0.0));
        weights.push(power(light, scene_radius));
    }
    let (cells, power) = alias_table(&weights);
    for ((emitter, cell), weight) in emitters.iter_mut().zip(cells).zip(&weights) {
        emitter.alias_threshold = cell.threshold;
        emitter.alias_index = cell.alias;
        emitter.probability = if power > 0.0 { (f64::from(*weight) / power) as f32 } else { 0.0 };
    }
    if power <= 0.0 {
        // Lights without power would be chosen for nothing.
        emitters.clear();
        emitter_of_triangle.clear();
        emitter_bases.fill(None);
    }
    PackedLights {
        lights: scene.lights.iter().map(pack_light).collect(),
        emitters,
        emitter_of_triangle,
        emitter_bases,
        power,
        scene_radius,
    }
}

fn emitter(instance: u32, index: u32, area: f32) -> layout::Emitter {
    layout::Emitter { alias_threshold: 1.0, alias_index: 0, probability: 0.0, instance, index, area, pad: [0; 2] }
}

/// Estimated power; that of a directional light is what it sends through the scene.
fn power(light: &PunctualLight, scene_radius: f32) -> f32 {
    let power = match light {
        PunctualLight::Point { intensity, .. } => 4.0 * PI * luminance(*intensity),
        PunctualLight::Spot { intensity, outer_cone, .. } => {
            // A very narrow cone still needs to be chosen now and then.
            2.0 * PI * (1.0 - outer_cone.cos()).max(0.01) * luminance(*intensity)
        }
        PunctualLight::Directional { irradiance, .. } => PI * scene_radius * scene_radius * luminance(*irradiance),
    };
    if power.is_finite() { power.max(0.0) } else { f32::MAX / 1.0e6 }
}

fn pack_light(light: &PunctualLight) -> layout::PunctualLight {
    let mut packed = layout::PunctualLight {
        position: [0.0; 3],
        kind: 0,
        direction: [0.0, 0.0, -1.0],
        range: 0.0,
        intensity: [0.0; 3],
        inner_cone: 0.0,
        outer_cone: 0.0,
        pad_0: 0,
        pad_1: 0,
        pad_2: 0,
    };
    match *light {
        PunctualLight::Point { position_world, intensity, range } => {
            packed.position = position_world.to_array();
            packed.intensity = intensity.to_array();
            packed.range = range;
        }
        PunctualLight::Spot { position_world, direction_world, intensity, range, inner_cone, outer_cone } => {
            packed.kind = 1;
            packed.position = position_world.to_array();
            packed.direction = direction_world.to_array();
            packed.intensity = intensity.to_array();
            packed.range = range;
            packed.inner_cone = inner_cone;
            packed.outer_cone = outer_cone;
        }
        PunctualLight::Directional { direction_world, irradiance } => {
            packed.kind = 2;
            packed.direction = direction_world.to_array();
            packed.intensity = irradiance.to_array();
        }
    }
    packed
}
