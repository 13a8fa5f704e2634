//! The work of a helper: it measures passages through changed models for the engine that started it.

use burn::tensor::Tensor;

use super::Engine;
use super::device;
use super::error::EngineError;
use super::fit::required;
use crate::analysis::AnalysisError;
use crate::analysis::change::changed;
use crate::analysis::eval;
use crate::analysis::prefix::Prefixes;
use crate::loading::checkpoint::Onto;
use crate::loading::load::load_weights;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::probe::Probe;
use crate::platform::Files;
use crate::protocol::Event;
use crate::terms::{Change, Help, HelperText, ModelSource, Piece};

/// The model and the text of a helper.
pub(super) struct Helping {
    model: Model,
    text: HelperText,
    mask: Option<Tensor<1>>,
    prefixes: Prefixes,
    /// The changed model of the last piece.
    changed: Option<Model>,
}

impl Engine {
    /// Answers [`crate::protocol::Request::Help`].
    pub(super) async fn help(&mut self, help: Help) -> Result<(), EngineError> {
        if let Help::Join { source } = &help {
            self.helping = Some(self.join(source).await?);
            return Ok(());
        }
        let helping = self.helping.as_mut().ok_or(EngineError::NotLoaded)?;
        match help {
            Help::Join { .. } => {}
            Help::Read(text) => helping.read(text),
            Help::Measure { piece, change } => {
                // A stop that waits is heard now.
                self.control.checkpoint().await?;
                let sums = helping.measure(piece, change.as_ref()).await?;
                self.control.emit(Event::Helped(sums));
            }
        }
        Ok(())
    }

    async fn join(&self, source: &ModelSource) -> Result<Helping, EngineError> {
        let files = Files::find(source).await?;
        let config = ModelConfig::from_json(&required(&files, "config.json").await?)?;
        let onto = Onto::new(&device::cpu(String::new()).device, None);
        let model = load_weights(&files, &config, &onto, &self.control).await?.model;
        Ok(Helping { model, text: HelperText::default(), mask: None, prefixes: Prefixes::default(), changed: None })
    }
}

impl Helping {
    /// Takes another text. Streams of the text before are dropped.
    fn read(&mut self, text: HelperText) {
        let has_stopwords = !text.stopword_ids.is_empty();
        self.mask = has_stopwords.then(|| eval::stopword_mask(&self.model, &text.stopword_ids));
        (self.text, self.prefixes, self.changed) = (text, Prefixes::default(), None);
    }

    async fn measure(&mut self, piece: Piece, change: Option<&Change>) -> Result<crate::terms::PassageSums, AnalysisError> {
        if let Some(change) = change {
            // The model before is dropped first, so that there is never a second one.
            self.changed = None;
            self.changed = Some(changed(&self.model, change, self.text.means.as_deref())?);
        }
        let ids = self.text.passages.get(piece.passage).ok_or(AnalysisError::EmptyText)?;
        let model = self.changed.as_ref().ok_or(AnalysisError::EmptyText)?;
        eval::passage(model, ids, self.mask.as_ref(), &mut Probe::empty(), &mut self.prefixes).await
    }
}
