//! Natively there is one engine, which uses all cores.

use std::convert::Infallible;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A further worker; there is none.
pub struct Worker(Infallible);

impl Worker {
    /// # Errors
    ///
    /// Always: natively nothing starts workers.
    pub fn start<T: DeserializeOwned + 'static>(_hear: impl Fn(Result<T, String>) + 'static) -> Result<Self, String> {
        Err("natively one engine uses all cores".into())
    }

    /// # Errors
    ///
    /// Never.
    pub fn post(&self, _message: &impl Serialize) -> Result<(), String> {
        match self.0 {}
    }
}
