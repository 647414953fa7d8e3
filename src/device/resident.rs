//! Buffers that outlive the work that made them, by the content in them: what a scene needs on the device stays there for the next work
//! that uses it. Used on the device thread only.
//!
//! Nothing here decides when memory is short: the device thread asks for the least recently used group that nobody holds.

use super::{DeviceError, GpuBuffer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// Buffers of one content, in the order of their maker's choosing.
pub type BufferGroup = Arc<Vec<GpuBuffer>>;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Residents {
    groups: RefCell<HashMap<String, Entry>>,
    /// Counts uses.
    clock: Cell<u64>,
}

#[derive(Debug)]
struct Entry {
    group: BufferGroup,
    used: u64,
}

impl Residents {
    /// The group of this content, made by `make` where it is not there. Without a key it is made anew and nobody else's.
    pub fn get(
        &self,
        key: Option<&str>,
        make: impl FnOnce() -> Result<Vec<GpuBuffer>, DeviceError>,
    ) -> Result<BufferGroup, DeviceError> {
        if let Some(key) = key
            && self.touch(key)
        {
            return Ok(Arc::clone(&self.groups.borrow()[key].group));
        }
        let group = Arc::new(make()?);
        if let Some(key) = key {
            let entry = Entry { group: Arc::clone(&group), used: self.tick() };
            self.groups.borrow_mut().insert(key.to_owned(), entry);
        }
        Ok(group)
    }

    /// True where the content is there; counts as a use.
    pub fn touch(&self, key: &str) -> bool {
        let now = self.tick();
        self.groups.borrow_mut().get_mut(key).map(|entry| entry.used = now).is_some()
    }

    /// The time of the last use, as this counts them.
    pub fn now(&self) -> u64 {
        self.clock.get()
    }

    /// Drops the least recently used group that no work holds and that nobody has used since `before`. False where there is none.
    pub fn drop_oldest(&self, before: u64) -> bool {
        let mut groups = self.groups.borrow_mut();
        let unused = groups.iter().filter(|(_, entry)| Arc::strong_count(&entry.group) == 1 && entry.used <= before);
        let oldest = unused.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| groups.remove(&key).is_some())
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }
}
