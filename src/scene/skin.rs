//! Linear blend skinning into world space (glTF 2.0, 3.7.3): up to 8 joints a vertex, from two attribute sets.

use super::accessor::{Buffers, Component, Elements};
use super::document::{Document, Skin, get};
use super::error::{SceneError, SceneResult};
use super::geometry::{Geometry, Reader};
use super::tally::Tally;
use glam::{Affine3A, DAffine3, DMat4, Mat3A};
use std::sync::Arc;

/// The joints that move a vertex. Weights sum to 1; unused ones are 0 and name joint 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Influence {
    joints: [u16; 8],
    weights: [f32; 8],
}

/// World from bind pose for each joint of a skin.
pub(super) fn joint_matrices(
    document: &Document,
    buffers: &Buffers,
    index: u32,
    skin: &Skin,
    world_from_object: &[DAffine3],
) -> SceneResult<Arc<[Affine3A]>> {
    let place = format!("/skins/{index}");
    let user = format!("{place}/inverseBindMatrices");
    let inverse_bind = skin
        .inverse_bind_matrices
        .map(|accessor| {
            Elements::open(document, buffers, accessor, &["MAT4"], &user)?.require(&[Component::F32], &user)
        })
        .transpose()?;
    if let Some(matrices) = &inverse_bind
        && matrices.count < skin.joints.len()
    {
        return Err(SceneError::invalid(
            "validate",
            format!("The skin has {} joints and {} inverse bind matrices.", skin.joints.len(), matrices.count),
        )
        .at(user));
    }
    skin.joints
        .iter()
        .enumerate()
        .map(|(at, &joint)| {
            get(&document.nodes, joint, "nodes", &format!("{place}/joints/{at}"))?;
            let bind = inverse_bind.as_ref().map_or(DAffine3::IDENTITY, |matrices| {
                DAffine3::from_mat4(DMat4::from_cols_array(&matrices.floats::<16>(at).map(f64::from)))
            });
            let matrix = world_from_object[joint as usize] * bind;
            let matrix = Affine3A::from_mat4(matrix_f32(matrix));
            if matrix.is_finite() {
                return Ok(matrix);
            }
            Err(SceneError::invalid("validate", format!("The matrix of joint {at} of the skin is not finite."))
                .at(user.clone()))
        })
        .collect()
}

/// The same map in 32-bit floats.
pub(super) fn matrix_f32(matrix: DAffine3) -> glam::Mat4 {
    DMat4::from(matrix).as_mat4()
}

/// Reads `JOINTS_n` and `WEIGHTS_n` of sets 0 and 1, with the weights brought to a sum of 1.
pub(super) fn influences(reader: &Reader, tally: &mut Tally) -> SceneResult<Vec<Influence>> {
    let mut influences = vec![Influence::default(); reader.used.len()];
    for set in 0..2 {
        let joints = reader.attribute(&format!("JOINTS_{set}"), &["VEC4"])?;
        let weights = reader.attribute(&format!("WEIGHTS_{set}"), &["VEC4"])?;
        let (Some(joints), Some(weights)) = (joints, weights) else { break };
        let joints =
            joints.require(&[Component::U8, Component::U16], &format!("{}/attributes/JOINTS_{set}", reader.place))?;
        for (influence, &vertex) in influences.iter_mut().zip(reader.used) {
            for component in 0..4 {
                influence.joints[set * 4 + component] = joints.unsigned(vertex as usize, component) as u16;
                influence.weights[set * 4 + component] = weights.float(vertex as usize, component);
            }
        }
    }
    for influence in &mut influences {
        let sum: f32 = influence.weights.iter().sum();
        if sum.is_finite() && sum > 0.0 {
            influence.weights = influence.weights.map(|weight| weight / sum);
        } else {
            influence.weights = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            tally.weights_repaired += 1;
        }
    }
    Ok(influences)
}

/// Moves `geometry` from bind pose to the world.
///
/// Normals follow the inverse transpose of the blended matrix. Where that matrix mirrors, triangles and tangents are
/// turned around here, because the instance of a skinned mesh has the identity as its transform.
pub(super) fn apply(geometry: &mut Geometry, joints: &[Affine3A], place: &str) -> SceneResult<()> {
    let mut mirrored = Vec::with_capacity(geometry.positions.len());
    for (vertex, influence) in geometry.influences.iter().enumerate() {
        let mut blended = Affine3A::from_mat3_translation(glam::Mat3::ZERO, glam::Vec3::ZERO);
        for (&joint, &weight) in influence.joints.iter().zip(&influence.weights) {
            if weight == 0.0 {
                continue;
            }
            let matrix = joints.get(joint as usize).ok_or_else(|| {
                SceneError::invalid(
                    "validate",
                    format!("A vertex follows joint {joint}; its skin has {} joints.", joints.len()),
                )
                .at(format!("{place}/attributes/JOINTS_0"))
            })?;
            blended.matrix3 += matrix.matrix3 * weight;
            blended.translation += matrix.translation * weight;
        }
        let position = blended.transform_point3(geometry.positions[vertex]);
        if !position.is_finite() {
            return Err(super::geometry::too_far(place));
        }
        geometry.positions[vertex] = position;
        let determinant = blended.matrix3.determinant();
        mirrored.push(determinant < 0.0);
        let sign = if determinant < 0.0 { -1.0 } else { 1.0 };
        if let Some(normal) = geometry.normals.get_mut(vertex) {
            *normal = super::frame::unit(cofactors(&blended.matrix3) * *normal * sign).unwrap_or(*normal);
        }
        if let Some(tangent) = geometry.tangents.get_mut(vertex) {
            let turned =
                super::frame::unit(blended.transform_vector3(tangent.truncate())).unwrap_or(tangent.truncate());
            *tangent = turned.extend(tangent.w * sign);
        }
    }
    for triangle in &mut geometry.triangles {
        if mirrored[triangle[0] as usize] {
            triangle.swap(1, 2);
        }
    }
    Ok(())
}

/// The cofactor matrix: determinant × inverse transpose, defined for singular matrices too.
fn cofactors(matrix: &Mat3A) -> Mat3A {
    let [x, y, z] = [matrix.x_axis, matrix.y_axis, matrix.z_axis];
    Mat3A::from_cols(y.cross(z), z.cross(x), x.cross(y))
}
