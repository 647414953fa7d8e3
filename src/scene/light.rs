//! `KHR_lights_punctual` → lights in world space. A light shines along −Z of its node; the node's scale does not count.

use super::PunctualLight;
use super::document::{Document, get};
use super::error::{SceneError, SceneResult};
use super::frame::unit;
use super::nodes::Hierarchy;
use glam::{DVec3, Vec3};
use std::f32::consts::FRAC_PI_2;

/// The lights of the visible nodes, in the order of the nodes.
pub(super) fn collect(document: &Document, hierarchy: &Hierarchy) -> SceneResult<Vec<PunctualLight>> {
    let mut lights = Vec::new();
    for &node in &hierarchy.visible {
        let extensions = document.nodes[node as usize].extensions.as_deref();
        let Some(reference) = extensions.and_then(|extensions| extensions.light.as_ref()) else { continue };
        let pointer = format!("/nodes/{node}/extensions/KHR_lights_punctual/light");
        let light = get(&document.lights, reference.light, "punctual lights", &pointer)?;
        let place = format!("/extensions/KHR_lights_punctual/lights/{}", reference.light);
        let invalid = |message: String| SceneError::invalid("validate", message).at(place.clone());
        let strength = Vec3::from_array(light.color) * light.intensity;
        let range = light.range.unwrap_or(0.0);
        if !strength.is_finite() || strength.min_element() < 0.0 {
            return Err(invalid("The colour times the intensity of the light is negative or not finite.".to_owned()));
        }
        if !range.is_finite() || range < 0.0 {
            return Err(invalid(format!("The light has the range {range}; expected a positive number.")));
        }
        let matrix = &hierarchy.world_from_object[node as usize];
        let position_world = matrix.translation.as_vec3();
        let direction_world = unit(matrix.transform_vector3(DVec3::NEG_Z).as_vec3());
        let direction = || {
            direction_world.ok_or_else(|| invalid("The node of the light has no direction: its scale is 0.".to_owned()))
        };
        if !position_world.is_finite() {
            return Err(super::geometry::too_far(&format!("/nodes/{node}")));
        }
        if strength == Vec3::ZERO {
            continue;
        }
        lights.push(match light.kind.as_str() {
            "point" => PunctualLight::Point { position_world, intensity: strength, range },
            "directional" => PunctualLight::Directional { direction_world: direction()?, irradiance: strength },
            "spot" => {
                let (inner_cone, outer_cone) = (light.spot.inner_cone_angle, light.spot.outer_cone_angle);
                if !(0.0 <= inner_cone && inner_cone < outer_cone && outer_cone <= FRAC_PI_2 + 1.0e-4) {
                    return Err(invalid(format!(
                        "The spot's cones are {inner_cone} and {outer_cone} rad; expected 0 ≤ inner < outer ≤ π/2."
                    )));
                }
                let direction_world = direction()?;
                PunctualLight::Spot {
                    position_world,
                    direction_world,
                    intensity: strength,
                    range,
                    inner_cone,
                    outer_cone,
                }
            }
            other => {
                return Err(invalid(format!(
                    "The light type \"{other}\" is unknown; expected point, spot or directional."
                )));
            }
        });
    }
    Ok(lights)
}
