//! Counts of what was skipped, dropped and repaired while loading, told as sentences in the report.

/// One count a kind of mishap.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) points_and_lines: u64,
    pub(super) primitives_without_positions: u64,
    pub(super) leftover_indices: u64,
    pub(super) degenerate_triangles: u64,
    pub(super) normals_repaired: u64,
    pub(super) tangents_repaired: u64,
    pub(super) uvs_repaired: u64,
    pub(super) uv_sets_missing: u64,
    pub(super) colors_repaired: u64,
    pub(super) weights_repaired: u64,
    pub(super) morph_attributes_ignored: u64,
    pub(super) singular_instances: u64,
    pub(super) skins_without_joints: u64,
}

impl Tally {
    /// Adds what another part of the scene counted.
    pub(super) fn add(&mut self, other: &Self) {
        // Destructured, so that a new count does not compile until someone has decided about it.
        let Self {
            points_and_lines,
            primitives_without_positions,
            leftover_indices,
            degenerate_triangles,
            normals_repaired,
            tangents_repaired,
            uvs_repaired,
            uv_sets_missing,
            colors_repaired,
            weights_repaired,
            morph_attributes_ignored,
            singular_instances,
            skins_without_joints,
        } = other;
        self.points_and_lines += points_and_lines;
        self.primitives_without_positions += primitives_without_positions;
        self.leftover_indices += leftover_indices;
        self.degenerate_triangles += degenerate_triangles;
        self.normals_repaired += normals_repaired;
        self.tangents_repaired += tangents_repaired;
        self.uvs_repaired += uvs_repaired;
        self.uv_sets_missing += uv_sets_missing;
        self.colors_repaired += colors_repaired;
        self.weights_repaired += weights_repaired;
        self.morph_attributes_ignored += morph_attributes_ignored;
        self.singular_instances += singular_instances;
        self.skins_without_joints += skins_without_joints;
    }

    /// A sentence for each count that is not zero.
    pub(super) fn sentences(&self) -> Vec<String> {
        let table = [
            (self.points_and_lines, "primitives of points or lines were skipped: they have no area."),
            (self.primitives_without_positions, "primitives without POSITION were skipped."),
            (self.leftover_indices, "vertices at the end of triangle lists do not make a triangle and were ignored."),
            (self.degenerate_triangles, "triangles without area were dropped."),
            (self.normals_repaired, "normals that were zero or not finite were replaced by those of their faces."),
            (self.tangents_repaired, "tangents that were zero or not finite were replaced."),
            (self.uvs_repaired, "texture coordinates that were not finite were set to 0."),
            (self.uv_sets_missing, "primitives lack a UV set that their material uses; its texture is read at (0, 0)."),
            (self.colors_repaired, "vertex colours outside [0, 1] were clamped."),
            (self.weights_repaired, "vertices whose skin weights sum to 0 or are not finite follow their first joint."),
            (self.morph_attributes_ignored, "morph targets of colours or texture coordinates were ignored."),
            (self.singular_instances, "instances with a singular transform were dropped: they have no volume to show."),
            (
                self.skins_without_joints,
                "primitives under a skin have no JOINTS_0 and WEIGHTS_0 and were placed by their node.",
            ),
        ];
        table.iter().filter(|(count, _)| *count > 0).map(|(count, sentence)| format!("{count} {sentence}")).collect()
    }
}
