//! Loaded scenes and environments that stay in memory for the next task that uses them. Shared by the loader threads.
//!
//! What is kept is named by its content (the asset's SHA-256, and the pose), so that it can never be stale; what has no such name is not
//! kept. The least recently used goes first when the bytes exceed their bound. Two loaders that want the same scene load it once.

use crate::job::Failure;
use crate::job::spec::AnimationSpec;
use crate::limits::SCENES_RESIDENT_MAX;
use crate::path_trace::{PackedScene, PackedSky};
use crate::scene::Scene;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A scene that is ready for the device.
pub struct LoadedScene {
    /// Its cameras, bounds and report; the arrays are only in `packed`.
    pub view: Scene,
    /// What the device gets.
    pub packed: Arc<PackedScene>,
}

/// What is kept.
#[derive(Clone)]
pub enum Loaded {
    /// A scene in one pose.
    Scene(Arc<LoadedScene>),
    /// An environment.
    Sky(Arc<PackedSky>),
}

impl Loaded {
    fn bytes(&self) -> u64 {
        match self {
            Self::Scene(scene) => scene.packed.bytes(),
            Self::Sky(sky) => sky.bytes(),
        }
    }
}

/// The key of an asset in a pose; `None` where the asset is not named by its content.
pub fn key(asset: &str, animation: Option<&AnimationSpec>) -> Option<String> {
    let sha256 = asset.strip_prefix("sha256:")?;
    if sha256.len() != 64 || !sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match animation {
        None => Some(asset.to_owned()),
        Some(pose) => Some(format!("{asset} {}", serde_json::to_string(pose).ok()?)),
    }
}

/// See the module's text.
pub struct ResidentScenes {
    bytes_max: u64,
    inner: Mutex<Inner>,
    /// Notified when a load has ended.
    loaded: Condvar,
}

#[derive(Default)]
struct Inner {
    /// The most recently used last.
    kept: Vec<(String, Loaded)>,
    loading: Vec<String>,
}

impl ResidentScenes {
    /// Keeps at most so many bytes, but for what is in use.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, inner: Mutex::default(), loaded: Condvar::new() }
    }

    /// What is kept under the key, or else what `load` brings, which is kept then. A panic of `load` is not kept either.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn get(&self, key: Option<&str>, load: impl FnOnce() -> Result<Loaded, Failure>) -> Result<Loaded, Failure> {
        let Some(key) = key else { return load() };
        let mut inner = self.lock();
        loop {
            if let Some(at) = inner.kept.iter().position(|(kept, _)| kept == key) {
                let found = inner.kept.remove(at);
                inner.kept.push(found.clone());
                return Ok(found.1);
            }
            if !inner.loading.iter().any(|loading| loading == key) {
                break;
            }
            inner = self.loaded.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.loading.push(key.to_owned());
        drop(inner);
        let _done = Loading { scenes: self, key };
        let loaded = load()?;
        let mut inner = self.lock();
        inner.kept.push((key.to_owned(), loaded.clone()));
        self.trim(&mut inner);
        Ok(loaded)
    }

    /// Asset references of what is kept, the most recently used first, each once.
    pub fn assets(&self) -> Vec<String> {
        let mut assets: Vec<String> = Vec::new();
        for (key, _) in self.lock().kept.iter().rev() {
            let asset = key.split(' ').next().unwrap_or_default();
            if asset.starts_with("sha256:") && !assets.iter().any(|known| known == asset) {
                assets.push(asset.to_owned());
            }
        }
        assets
    }

    fn trim(&self, inner: &mut Inner) {
        let mut bytes: u64 = inner.kept.iter().map(|(_, loaded)| loaded.bytes()).sum();
        while inner.kept.len() > 1 && (bytes > self.bytes_max || inner.kept.len() > SCENES_RESIDENT_MAX) {
            bytes -= inner.kept.remove(0).1.bytes();
        }
        // One that is too large for all of the room is not kept beyond its task.
        if bytes > self.bytes_max {
            inner.kept.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held: what is behind it is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a load has ended, however it did.
struct Loading<'a> {
    scenes: &'a ResidentScenes,
    key: &'a str,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.scenes.lock().loading.retain(|loading| loading != self.key);
        self.scenes.loaded.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sky(texels: usize) -> Loaded {
        let (width, height) = (texels as u32, 1);
        let (texels, alias) = (vec![[0; 2]; texels], Vec::new());
        Loaded::Sky(Arc::new(PackedSky { key: None, width, height, texels, alias, weight_sum: 0.0, notes: Vec::new() }))
    }

    fn count(scenes: &ResidentScenes, key: &str, texels: usize) -> bool {
        let mut loaded = false;
        let load = || {
            loaded = true;
            Ok(sky(texels))
        };
        assert!(scenes.get(Some(key), load).is_ok());
        loaded
    }

    #[test]
    fn what_is_used_least_recently_goes_first_and_what_is_too_large_is_not_kept() {
        let scenes = ResidentScenes::new(8 * 30);
        assert!(count(&scenes, "sha256:a", 10) && count(&scenes, "sha256:b x", 10) && count(&scenes, "sha256:c", 10));
        assert!(!count(&scenes, "sha256:a", 10), "it was not kept");
        assert!(count(&scenes, "sha256:d", 10));
        assert_eq!(scenes.assets(), ["sha256:d", "sha256:a", "sha256:c"]);
        assert!(count(&scenes, "sha256:e", 31) && count(&scenes, "sha256:e", 31));
    }

    #[test]
    fn loaders_that_want_the_same_load_it_once_and_a_failure_is_tried_again() {
        let scenes = ResidentScenes::new(u64::MAX);
        let loads = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let load = || {
                        loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(sky(1))
                    };
                    assert!(scenes.get(Some("sha256:a"), load).is_ok());
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
        let broken =
            || Err(crate::gpu_process::task::failure(crate::job::FailureReason::InvalidScene, String::new(), "load"));
        assert!(scenes.get(Some("sha256:b"), broken).is_err());
        assert!(scenes.get(Some("sha256:b"), || Ok(sky(1))).is_ok());
    }

    #[test]
    fn only_what_is_named_by_its_content_has_a_key() {
        let asset = format!("sha256:{}", "a".repeat(64));
        let pose = AnimationSpec { clip: None, time_s: 1.5 };
        assert_eq!(key(&asset, None).as_deref(), Some(asset.as_str()));
        assert_ne!(key(&asset, Some(&pose)), key(&asset, None));
        assert_eq!(key("sha256:canary", None), None);
        assert_eq!(key("a", None), None);
    }
}
