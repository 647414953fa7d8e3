//! Things that live as long as the device: pipelines, layouts, samplers of whoever wants to keep some. Device thread only.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;

/// One value of each type, made when it is first asked for.
#[derive(Default)]
pub(super) struct Locals {
    values: RefCell<HashMap<TypeId, Box<dyn Any>>>,
}

impl Locals {
    /// Lends the value of this type. `body` may not ask for the same type again.
    pub(super) fn with<T: Default + 'static, R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        let id = TypeId::of::<T>();
        // Taken out meanwhile, so that `body` may ask for values of other types.
        let taken = self.values.borrow_mut().remove(&id);
        let mut value = match taken.map(|value| value.downcast::<T>()) {
            Some(Ok(value)) => value,
            _ => Box::<T>::default(),
        };
        let result = body(&mut value);
        self.values.borrow_mut().insert(id, value);
        result
    }
}
