//! Work that an engine shares with its helpers: further workers of the same browser with the same model, on the CPU.
//!
//! A helper measures one changed model on one passage at a time. Passages are small, so that no worker waits long for
//! another, and their sums are added up in one order, so that a loss does not depend on who measured its parts.

use serde::{Deserialize, Serialize};

use super::{Ablation, Matrix, ModelSource};

/// A change of the loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Edits of weights. The ablation has no pruning, and nothing that acts while the model runs.
    Edit(Ablation),
    /// Scalars set to zero: layer, matrix, and index in the stored matrix's flat order.
    Zero(Vec<(usize, Matrix, usize)>),
    /// Channels removed, listed by layer; with `to_means`, each is replaced by its mean.
    Channels { channels: Vec<Vec<usize>>, to_means: bool },
}

/// One piece of work: a passage of the text, through one of the changed models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// The changed model, counted over the whole job.
    pub arm: usize,
    pub passage: usize,
}

/// The sums over a passage's predicted positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PassageSums {
    /// Cross-entropies, nats.
    pub loss_nats: f64,
    /// Probabilities on stopwords; 0 if nobody needs them.
    pub stopwords: f64,
    /// Predicted positions.
    pub n_tokens: usize,
}

/// The text of a job, and the means of the model's channels if a change may need them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HelperText {
    /// Token ids of each passage.
    pub passages: Vec<Vec<u32>>,
    /// The stopwords' token ids; empty if their probability is not needed.
    pub stopword_ids: Vec<u32>,
    /// The mean of every channel of every layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<Vec<Vec<f32>>>,
}

/// The requests of an engine to a helper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Help {
    /// Loads a model, as the engine has written it: `config.json` and one file of f32 weights.
    Join { source: ModelSource },
    /// Takes the text of the next pieces.
    Read(HelperText),
    /// Measures a piece. `change` is absent if the helper's last piece had the same.
    Measure {
        piece: Piece,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<Change>,
    },
}

/// The workers that share the arms of a measurement, the engine's own included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// The number that the next measurement uses.
    pub workers: usize,
    /// The largest number: the logical processors of this machine.
    pub most: usize,
    /// The most bytes that each further worker takes: the weights, an arm's copies of them, and kept streams.
    pub helper_bytes: u64,
    /// Helpers that failed since the model was loaded, or since the number was last chosen.
    pub lost: usize,
}
