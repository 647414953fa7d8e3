//! The node hierarchy: a forest that is checked, posed and flattened to world matrices, without recursion.

use super::document::{Document, Node, get, out_of_range};
use super::error::{SceneError, SceneResult};
use crate::limits;
use glam::{DAffine3, DMat4, DQuat, DVec3};

/// Translation, rotation and scale of a node, as the file or its animation sets them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pose {
    pub(super) translation: Option<[f32; 3]>,
    pub(super) rotation: Option<[f32; 4]>,
    pub(super) scale: Option<[f32; 3]>,
}

/// The flattened hierarchy.
pub(super) struct Hierarchy {
    /// World from object, for every node of the file, in or out of the scene.
    pub(super) world_from_object: Vec<DAffine3>,
    /// Nodes of the chosen scene that are visible, in ascending order.
    pub(super) visible: Vec<u32>,
}

impl Hierarchy {
    /// Checks that the nodes form a forest, and poses them. `poses` overrides the file's own transforms where an animation
    /// speaks: empty, or one entry a node.
    pub(super) fn resolve(document: &Document, poses: &[Pose]) -> SceneResult<Self> {
        let count = document.nodes.len();
        if count > limits::NODES_MAX {
            return Err(SceneError::limit(
                "validate",
                format!("The file has {count} nodes; the limit is {}.", limits::NODES_MAX),
            )
            .at("/nodes"));
        }
        let parents = parents(document)?;
        let order = parents_first(document, &parents)?;
        let mut world_from_object = vec![DAffine3::IDENTITY; count];
        for &node in &order {
            let local = local(&document.nodes[node as usize], poses.get(node as usize), node)?;
            let parent = parents[node as usize].map_or(DAffine3::IDENTITY, |parent| world_from_object[parent as usize]);
            world_from_object[node as usize] = parent * local;
        }
        let visible = visible(document, &parents, &order)?;
        Ok(Self { world_from_object, visible })
    }
}

/// The parent of each node. A node with two is an error (glTF 2.0, 3.5.3: strict trees).
fn parents(document: &Document) -> SceneResult<Vec<Option<u32>>> {
    let mut parents = vec![None; document.nodes.len()];
    for (index, node) in document.nodes.iter().enumerate() {
        for (at, &child) in node.children.iter().enumerate() {
            let pointer = || format!("/nodes/{index}/children/{at}");
            let parent: &mut Option<u32> = parents
                .get_mut(child as usize)
                .ok_or_else(|| out_of_range(child, document.nodes.len(), "nodes").at(pointer()))?;
            if let Some(first) = *parent {
                return Err(SceneError::invalid(
                    "validate",
                    format!(
                        "Node {child} is a child of node {first} and of node {index}; a node has one parent at most."
                    ),
                )
                .at(pointer()));
            }
            *parent = Some(index as u32);
        }
    }
    Ok(parents)
}

/// All nodes, each after its parent. What cannot be reached from a root is a cycle, since no node has two parents.
fn parents_first(document: &Document, parents: &[Option<u32>]) -> SceneResult<Vec<u32>> {
    let mut order: Vec<u32> = (0..parents.len() as u32).filter(|&node| parents[node as usize].is_none()).collect();
    let mut at = 0;
    while at < order.len() {
        order.extend_from_slice(&document.nodes[order[at] as usize].children);
        at += 1;
    }
    if order.len() < parents.len() {
        let mut reached = vec![false; parents.len()];
        order.iter().for_each(|&node| reached[node as usize] = true);
        let node = reached.iter().position(|&reached| !reached).expect("fewer nodes were reached than there are");
        return Err(SceneError::invalid(
            "validate",
            format!("Node {node} is its own ancestor: the nodes form a cycle."),
        )
        .at(format!("/nodes/{node}/children")));
    }
    Ok(order)
}

fn local(node: &Node, pose: Option<&Pose>, index: u32) -> SceneResult<DAffine3> {
    let broken = |what: &str| {
        Err(SceneError::invalid("validate", format!("The {what} of node {index} is not finite."))
            .at(format!("/nodes/{index}/{what}")))
    };
    let pose = pose.copied().unwrap_or_default();
    if let Some(matrix) = &node.matrix {
        let matrix = DMat4::from_cols_array(matrix);
        // An animated node must not have a matrix (glTF 2.0, 3.5.2), so a pose never competes with one.
        return if matrix.is_finite() { Ok(DAffine3::from_mat4(matrix)) } else { broken("matrix") };
    }
    let translation = vector(pose.translation.or(node.translation).unwrap_or([0.0; 3]));
    let scale = vector(pose.scale.or(node.scale).unwrap_or([1.0; 3]));
    let [x, y, z, w] = pose.rotation.or(node.rotation).unwrap_or([0.0, 0.0, 0.0, 1.0]).map(f64::from);
    let rotation = DQuat::from_xyzw(x, y, z, w);
    if !translation.is_finite() {
        return broken("translation");
    }
    if !scale.is_finite() {
        return broken("scale");
    }
    if !rotation.is_finite() {
        return broken("rotation");
    }
    let rotation = if rotation.length_squared() > 0.0 { rotation.normalize() } else { DQuat::IDENTITY };
    Ok(DAffine3::from_scale_rotation_translation(scale, rotation, translation))
}

fn vector(v: [f32; 3]) -> DVec3 {
    DVec3::from_array(v.map(f64::from))
}

/// The nodes that a picture shows: of the file's default scene, else its first, else all.
fn visible(document: &Document, parents: &[Option<u32>], order: &[u32]) -> SceneResult<Vec<u32>> {
    let mut in_scene = vec![false; document.nodes.len()];
    match document.scene.or((!document.scenes.is_empty()).then_some(0)) {
        None => (0..parents.len()).filter(|&node| parents[node].is_none()).for_each(|node| in_scene[node] = true),
        Some(scene) => {
            for (at, &root) in get(&document.scenes, scene, "scenes", "/scene")?.nodes.iter().enumerate() {
                get(&document.nodes, root, "nodes", &format!("/scenes/{scene}/nodes/{at}"))?;
                in_scene[root as usize] = true;
            }
        }
    }
    let mut hidden = vec![false; document.nodes.len()];
    for &node in order {
        let parent = parents[node as usize].map(|parent| parent as usize);
        let extensions = document.nodes[node as usize].extensions.as_deref();
        let hides = extensions
            .and_then(|extensions| extensions.visibility.as_ref())
            .is_some_and(|visibility| !visibility.visible);
        hidden[node as usize] = hides || parent.is_some_and(|parent| hidden[parent]);
        in_scene[node as usize] |= parent.is_some_and(|parent| in_scene[parent]);
    }
    Ok((0..document.nodes.len() as u32).filter(|&node| in_scene[node as usize] && !hidden[node as usize]).collect())
}
