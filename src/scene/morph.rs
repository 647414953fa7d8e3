//! Morph targets: a vertex is its base plus the weighted sum of its offsets (glTF 2.0, 3.7.2.2).

use super::error::SceneResult;
use super::geometry::{Geometry, Reader};
use super::tally::Tally;
use glam::Vec3;

/// Adds the targets to positions, normals and tangents. Targets of weight 0 are not even read.
pub(super) fn apply(reader: &Reader, geometry: &mut Geometry, weights: &[f32], tally: &mut Tally) -> SceneResult<()> {
    let mut moved = false;
    for (index, (target, &weight)) in reader.primitive.targets.iter().zip(weights).enumerate() {
        if weight == 0.0 {
            continue;
        }
        let open = |name: &str| {
            let accessor = target.get(name).copied();
            let user = format!("{}/targets/{index}/{name}", reader.place);
            accessor.map(|accessor| reader.open(accessor, &["VEC3"], &user)).transpose()
        };
        if let Some(offsets) = open("POSITION")? {
            let offsets = reader.positions(&offsets)?;
            geometry.positions.iter_mut().zip(&offsets).for_each(|(position, &offset)| *position += weight * offset);
            moved = true;
        }
        if !geometry.normals.is_empty()
            && let Some(offsets) = open("NORMAL")?
        {
            let offsets = reader.vectors(&offsets);
            geometry.normals.iter_mut().zip(&offsets).for_each(|(normal, &offset)| *normal += weight * finite(offset));
        }
        if !geometry.tangents.is_empty()
            && let Some(offsets) = open("TANGENT")?
        {
            let offsets = reader.vectors(&offsets);
            for (tangent, &offset) in geometry.tangents.iter_mut().zip(&offsets) {
                *tangent += (weight * finite(offset)).extend(0.0);
            }
        }
        let ignored = target.keys().filter(|name| !matches!(name.as_str(), "POSITION" | "NORMAL" | "TANGENT"));
        tally.morph_attributes_ignored += ignored.count() as u64;
    }
    if moved && let Some(vertex) = geometry.positions.iter().position(|position| !position.is_finite()) {
        return Err(crate::scene::error::SceneError::limit(
            "build",
            format!("Morph targets move vertex {vertex} beyond what a 32-bit float can hold."),
        )
        .at(format!("{}/targets", reader.place)));
    }
    Ok(())
}

fn finite(vector: Vec3) -> Vec3 {
    if vector.is_finite() { vector } else { Vec3::ZERO }
}
