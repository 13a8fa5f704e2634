//! Experiments as links: `#try=2.<base64url of compact JSON>`, with the model's name and revision, every setting, and
//! the few main figures; `#try=3.` if a BOS was added to every text.
//!
//! Like the link of a run, this link is untrusted and starts nothing. It only has the names and digests of a
//! visitor's own texts and tasks. Links of version 1, whose figures have English names, can be read, too
//! ([`version1`]).

use serde::{Deserialize, Serialize};

use super::{MAX_PROMPT_CHARS, ShareError, earlier, pack, read_model, unpack};
use crate::terms::{Count, Experiment, Headline, MAX_VALUES, ModelRef, Outcome, Sizes, TextRef, read_json};
use crate::words::is_lower_hex;

/// The beginning of a fragment that holds an experiment.
pub const TRY_KEY: &str = "#try=";
/// The newest version, for links with a BOS that was added: an older page would measure without it.
const VERSION: u32 = 3;
/// The version of every other link.
const PLAIN_VERSION: u32 = 2;
pub const MAX_FIGURES: usize = 16;
const MAX_NAME_CHARS: usize = 120;

/// Relative tolerance of figures. Figures agree if they differ by at most this share of the link's figure, or by at
/// most [`ABSOLUTE`] and a tenth of the link's figure.
pub const RELATIVE: f64 = 0.01;
pub const ABSOLUTE: f64 = 0.005;

/// An experiment as it ran, and its main figures.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentLink {
    pub model: ModelRef,
    pub experiment: Experiment,
    pub headline: Vec<Headline>,
}

/// The JSON inside: model, revision, the BOS that was added, experiment, figures.
#[derive(Serialize, Deserialize)]
struct WireExperiment {
    m: String,
    r: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<u64>,
    e: Experiment,
    h: Vec<Headline>,
}

/// A figure of the link, and the figure measured here.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub name: String,
    pub there: f64,
    pub here: Option<f64>,
    /// `true` if there is an outcome without this figure.
    pub is_missing: bool,
}

impl Compared {
    /// Returns `true` if the figures agree; `None` if there is no outcome yet.
    pub fn agrees(&self) -> Option<bool> {
        let size = self.there.abs();
        let near = |here: f64| (here - self.there).abs() <= (RELATIVE * size).max(ABSOLUTE.min(size * 0.1)).max(1e-6);
        self.here.map(near).or(self.is_missing.then_some(false))
    }
}

impl ExperimentLink {
    /// Creates the link of an outcome.
    ///
    /// # Errors
    ///
    /// [`ShareError::Stopped`]: the visitor decided where the experiment stopped.
    pub fn from_outcome(outcome: &Outcome) -> Result<Self, ShareError> {
        if outcome.is_partial {
            return Err(ShareError::Stopped);
        }
        let figures = outcome.headline.iter().filter(|figure| figure.value.is_finite()).take(MAX_FIGURES);
        Ok(Self { model: outcome.model.clone(), experiment: outcome.experiment.clone(), headline: figures.cloned().collect() })
    }

    /// The fragment, with its `#`. [`ExperimentLink::decode`] reads it back.
    pub fn encode(&self) -> Result<String, ShareError> {
        let (ModelRef { id, revision, added_bos }, h) = (self.model.clone(), self.headline.clone());
        let mut e = self.experiment.clone();
        if let Some(tasks) = e.settings.parts().tasks {
            tasks.log_samples = false;
        }
        let version = if added_bos.is_some() { VERSION } else { PLAIN_VERSION };
        let wire = WireExperiment { m: id, r: revision, o: added_bos.map(u64::from), e, h };
        let fragment = pack(TRY_KEY, version, &serde_json::to_string(&wire).map_err(|_| ShareError::Damaged)?)?;
        read(wire)?;
        Ok(fragment)
    }

    /// Reads the fragment of an address, with or without its `#`.
    pub fn decode(fragment: &str) -> Result<Self, ShareError> {
        let (version, json) = unpack(TRY_KEY, VERSION, fragment)?;
        let mut wire: WireExperiment = read_json(&json).map_err(|_| ShareError::Damaged)?;
        if (version == VERSION) != wire.o.is_some() {
            return Err(ShareError::Damaged);
        }
        if version == 1 {
            wire.h.iter_mut().for_each(|figure| figure.name = earlier::figure(&figure.name));
        }
        read(wire)
    }

    /// Returns `true` if an outcome has the same settings. Texts and tasks are not compared, because the reader gets
    /// separate notes about them.
    pub fn is_of(&self, outcome: &Outcome) -> bool {
        let settings = |of: &Experiment| {
            let mut of = of.clone();
            let parts = of.settings.parts();
            if let Some(text) = parts.text {
                text.text = None;
            }
            if let Some(tasks) = parts.tasks {
                (tasks.tasks, tasks.log_samples) = (Vec::new(), false);
            }
            of
        };
        !outcome.is_partial && settings(&self.experiment) == settings(&outcome.experiment)
    }

    /// Every figure of the link, with that of the outcome if there is one.
    pub fn compare(&self, outcome: Option<&Outcome>) -> Vec<Compared> {
        let here = |name: &str| outcome?.headline.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        let compared = |figure: &Headline| {
            let here = here(&figure.name);
            Compared { name: figure.name.clone(), there: figure.value, is_missing: outcome.is_some() && here.is_none(), here }
        };
        self.headline.iter().map(compared).collect()
    }
}

/// Checks every rule about the content of an experiment's link.
fn read(WireExperiment { m, r, o, e, h }: WireExperiment) -> Result<ExperimentLink, ShareError> {
    let model = read_model(m, r, o)?;
    let refuse = |what: String| Err(ShareError::Setting(what));
    Count::SuperWeights.check(e.super_weights.len() as u64)?;
    // A page without experts would measure other scalars, so this version of a link has none.
    let sizes = Sizes { num_experts: None, ..Sizes::LARGEST };
    e.super_weights.iter().try_for_each(|at| sizes.check_target(&(*at).into()))?;
    let found = e.prompt().map_or(0, |prompt| prompt.chars().count());
    if found > MAX_PROMPT_CHARS {
        return Err(ShareError::PromptTooLong { found });
    }
    e.check()?;
    if e.tasks().is_some_and(|of| of.log_samples) {
        return refuse("it requests every sample, which only the command can do".into());
    }
    let texts = e.texts();
    if texts.len() > MAX_VALUES + 1 || !texts.iter().all(is_named) {
        return refuse("a text or a task in it has no name, or no digest".into());
    }
    if h.len() > MAX_FIGURES || !h.iter().all(|figure| figure.value.is_finite() && is_name(&figure.name)) {
        return refuse(format!("it may have at most {MAX_FIGURES} figures, each a number with a name"));
    }
    Ok(ExperimentLink { model, experiment: e, headline: h })
}

fn is_named(text: &TextRef) -> bool {
    is_name(&text.name) && is_lower_hex(&text.digest, 16)
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains(char::is_control)
}

#[cfg(test)]
#[path = "experiment_tests.rs"]
mod tests;
