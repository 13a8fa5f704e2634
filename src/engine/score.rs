//! Scores channels sequence by sequence, with partial results, and resumes where a scoring was stopped.

use super::error::EngineError;
use super::experiment::check_size;
use super::scored::Scored;
use super::{Engine, Loaded};
use crate::analysis::calibration::Sequences;
use crate::analysis::concentration;
use crate::analysis::score::Scores;
use crate::job::control::Control;
use crate::protocol::Event;
use crate::terms::{CalibrationText, Concentration, RHOS, ScoreProgress, ScoreReport, WeightCoord, core_size};

/// Parameters of [`crate::protocol::Request::Score`].
pub(super) struct Asked {
    pub text: Option<CalibrationText>,
    pub sequences: usize,
    pub length: usize,
    pub super_weights: Vec<WeightCoord>,
    pub resume: bool,
}

impl Engine {
    pub(super) async fn score(&mut self, asked: Asked) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let mut scored = loaded.begin(&asked).await?;
        let outcome = scored.run(loaded, &control).await;
        // A stop or a sequence that overflows keeps the earlier sums; a failing device does not.
        if outcome.as_ref().is_err_and(|error| !error.is_stop() && !error.is_overflow()) {
            return outcome;
        }
        loaded.check_gpu()?;
        if scored.scores.n_sequences > 0 {
            scored.channels = scored.scores.channels(&loaded.intact).await?;
            loaded.check_gpu()?;
            control.emit(Event::Scored(scored.report(loaded, &asked.super_weights)));
            loaded.scored = Some(scored);
        }
        outcome
    }
}

impl Loaded {
    /// Returns the earlier sums if they can be resumed, otherwise empty ones.
    async fn begin(&mut self, asked: &Asked) -> Result<Scored, EngineError> {
        let Asked { text, sequences: n, length, resume, .. } = asked;
        text.iter().try_for_each(|text| check_size(&text.name, &text.text))?;
        let sequences = Sequences::of(text.as_ref(), *n, *length, &self.tokenizer, self.info.max_position_embeddings)?;
        self.check_length(sequences.length)?;
        // The previous scores stay until new ones replace them, so that a stop before the first sequence loses
        // nothing.
        let kept = self.scored.take_if(|kept| *resume && kept.is_beginning_of(&sequences));
        let scores = match kept {
            Some(kept) => kept.scores,
            None => Scores::new(&self.intact).await?,
        };
        Ok(Scored { scores, channels: Vec::new(), sequences, surroundings: None })
    }
}

impl Scored {
    /// `true` if the sequences summed here are the first of the requested ones.
    fn is_beginning_of(&self, asked: &Sequences) -> bool {
        let done = self.scores.n_sequences;
        asked.convention == self.sequences.convention && asked.ids.get(..done).is_some_and(|ids| *ids == self.sequences.ids[..done])
    }

    async fn run(&mut self, loaded: &Loaded, control: &Control) -> Result<(), EngineError> {
        let total = self.sequences.ids.len();
        while self.scores.n_sequences < total {
            control.progress("scoring", self.scores.n_sequences as f64, total as f64, "sequences");
            control.checkpoint().await?;
            self.scores.add(&loaded.intact, &self.sequences.ids[self.scores.n_sequences]).await?;
            loaded.check_gpu()?;
            control.emit(Event::ScoreProgress(ScoreProgress { calibration: self.calibration(), concentration: self.concentration() }));
        }
        control.progress("scoring", total as f64, total as f64, "sequences");
        Ok(())
    }

    fn concentration(&self) -> Vec<Concentration> {
        let layers = self.scores.loss_proxies().into_iter().enumerate();
        layers.map(|(layer, proxy)| concentration::concentration(layer, &proxy)).collect()
    }

    fn report(&self, loaded: &Loaded, super_weights: &[WeightCoord]) -> ScoreReport {
        let (channels, concentration) = (self.channels.clone(), self.concentration());
        ScoreReport {
            model: loaded.info.model.clone(),
            calibration: self.calibration(),
            rhos: RHOS.to_vec(),
            core_sizes: RHOS.map(|rho| loaded.info.intermediate_size.map(|n| core_size(rho, n))).to_vec(),
            summary: concentration::summary(&concentration),
            supernodes: channels.iter().map(concentration::supernodes).collect(),
            overlaps: channels.iter().flat_map(concentration::overlaps).collect(),
            super_weights: concentration::super_weight_ranks(&channels, super_weights),
            concentration,
            channels,
        }
    }
}
