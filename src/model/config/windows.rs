//! The layers that attend to their last positions only.

use super::super::ModelError;
use super::keys::{Keys, config};

impl Keys<'_> {
    /// `true` for each layer with a window: by `layer_types`, or by `otherwise` if that key is missing.
    pub fn sliding_layers(&self, num_hidden_layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
        let Some(types) = self.texts("layer_types") else { return Ok((0..num_hidden_layers).map(otherwise).collect()) };
        if let Some(other) = types.iter().find(|kind| !["full_attention", "sliding_attention"].contains(kind)) {
            return Err(ModelError::Unsupported { what: format!("layer_types: {other:?}") });
        }
        if types.len() != num_hidden_layers {
            return Err(config("layer_types", format!("names {} layers of {num_hidden_layers}", types.len())));
        }
        Ok(types.into_iter().map(|kind| kind == "sliding_attention").collect())
    }

    /// The window. If the key is missing, as in the first configurations, it is `default`; `null` means none.
    pub fn window_or(&self, default: usize) -> Option<usize> {
        if self.value("sliding_window").is_none() { Some(default) } else { self.whole("sliding_window") }
    }

    /// The window of each layer.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] if a layer has a window, and there is none.
    pub fn windows(&self, is_sliding: &[bool], window: Option<usize>, why: &str) -> Result<Vec<Option<usize>>, ModelError> {
        if window.is_none() && is_sliding.contains(&true) {
            return Err(match self.texts("layer_types") {
                Some(_) => config("layer_types", format!("names layers with a window, but there is none: {why}")),
                None => config("sliding_window", "is null, but layers of this family have a window"),
            });
        }
        Ok(is_sliding.iter().map(|is_sliding| window.filter(|_| *is_sliding)).collect())
    }
}
