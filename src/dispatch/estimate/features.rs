//! What decides about a job's cost, as far as it can be told from its document: how much there is to do, and what it is like.

use crate::job::spec::EnvironmentSpec;
use crate::job::{JobSpec, SceneSpec, ShaderSpec};
use sha2::{Digest, Sha256};

/// See the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Units of work, above 0: pixels · samples · frames of a scene, pixels · simulated frames of a shader.
    pub work: f64,
    /// Names of what the job is like, the most special one first, the job's kind last. Jobs that share a name cost alike per unit of
    /// work, the more so the more special the name.
    pub keys: Vec<String>,
    /// GPU seconds per unit of work where nothing is known yet: what a processor of two cores does with an ordinary job.
    pub prior_seconds: f64,
}

impl Features {
    /// `asset_bytes`: the length of an asset by its SHA-256, where it is known.
    pub fn of(spec: &JobSpec, asset_bytes: impl Fn(&str) -> Option<u64>) -> Self {
        match spec {
            JobSpec::Scene(spec) => scene(spec, asset_bytes),
            JobSpec::Shader(spec) => shader(spec),
        }
    }
}

fn scene(spec: &SceneSpec, asset_bytes: impl Fn(&str) -> Option<u64>) -> Features {
    let [width, height] = spec.size;
    let frames = spec.frames.as_ref().map_or(1.0, |frames| f64::from(frames.count()));
    let sha256 = spec.scene.asset.sha256();
    let asset = sha256.get(..16).unwrap_or(sha256);
    let light = match &spec.environment {
        EnvironmentSpec::Preset(preset) => format!("{:?}", preset.preset).to_lowercase(),
        EnvironmentSpec::Asset(_) => "picture".to_owned(),
    };
    let bounces = spec.max_bounces;
    let mut keys = vec![format!("scene/{asset}/{bounces}/{light}"), format!("scene/{asset}")];
    if let Some(bytes) = asset_bytes(sha256) {
        // A factor of four in the file's length is a class of its own.
        keys.push(format!("scene/bytes{}/{bounces}", bytes.max(1).ilog2() / 2));
    }
    keys.push("scene".into());
    let work = f64::from(width) * f64::from(height) * f64::from(spec.samples) * frames;
    Features { work: work.max(1.0), keys, prior_seconds: 2e-6 }
}

fn shader(spec: &ShaderSpec) -> Features {
    let [width, height] = spec.size;
    let mut hash = Sha256::new();
    for text in
        [Some(&spec.source), spec.common.as_ref()].into_iter().flatten().chain(spec.buffers.values().map(|b| &b.source))
    {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let source = hex::encode(&hash.finalize()[..8]);
    let dialect = format!("{:?}", spec.dialect).to_lowercase();
    let keys = vec![format!("shader/{source}"), format!("shader/{dialect}"), "shader".into()];
    let work = f64::from(width) * f64::from(height) * f64::from(spec.frames_simulated());
    Features { work: work.max(1.0), keys, prior_seconds: 5e-8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::spec::AssetRef;

    #[test]
    fn work_counts_pixels_and_samples_and_names_go_from_special_to_general() {
        let mut spec = SceneSpec::new(AssetRef::from_sha256(&"ab".repeat(32)));
        (spec.size, spec.samples) = ([10, 20], 3);
        let features = Features::of(&JobSpec::Scene(spec.clone()), |_| Some(5000));
        assert_eq!(features.work, 600.0);
        let keys: Vec<&str> = features.keys.iter().map(String::as_str).collect();
        assert_eq!(keys, ["scene/abababababababab/8/studio", "scene/abababababababab", "scene/bytes6/8", "scene"]);
        spec.max_bounces = 1;
        let other = Features::of(&JobSpec::Scene(spec), |_| None);
        assert_eq!(other.keys.len(), 3);
        assert_ne!(other.keys[0], features.keys[0]);
        assert_eq!(other.keys[1], features.keys[1]);
    }
}
