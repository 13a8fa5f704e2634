//! The engine's answers, including figures of speed and failures.

use serde::{Deserialize, Serialize};

use crate::terms::{
    Ablation, ConfirmArm, ConfirmReport, Deletion, DeletionReport, Delta, Evaluation, Failure, Generated, Inspection, Message, ModelInfo,
    Outcome, Pane, PassageSums, Pruned, RunRecord, Saved, ScanReport, ScoreProgress, ScoreReport, Sharing, StoredModel, SurroundingsReport,
    SweepPoint, SweepReport,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEnvelope {
    /// The number of the request that the event answers; `None` for [`Event::Ready`].
    pub id: Option<u32>,
    pub event: Event,
}

/// The state of a progress bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The current step: `downloading_weights`, or `arm` with its index.
    pub doing: Message,
    pub done: f64,
    /// Total, in the unit of `done`.
    pub total: f64,
    /// `bytes`, `steps`, `tokens` or `sequences`.
    pub unit: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The worker is listening. Sent once, before any request.
    Ready {
        protocol_version: u32,
        /// The name of a Web Lock that the worker holds as long as it lives; `None` where the browser has none.
        lock: Option<String>,
    },
    Progress(Progress),
    Inspected(Inspection),
    Loaded(ModelInfo),
    Stored {
        models: Vec<StoredModel>,
    },
    Scanned(ScanReport),
    /// One more arm was measured; the whole report follows as [`Event::Confirmed`].
    Arm {
        arm: ConfirmArm,
    },
    Confirmed(ConfirmReport),
    /// The ablation was applied; `took_ms` is the engine's own time.
    Applied {
        ablation: Ablation,
        took_ms: f64,
        /// The outcome of the ablation's pruning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pruned: Option<Pruned>,
    },
    Evaluated {
        pane: Pane,
        evaluation: Evaluation,
    },
    /// One new token of one pane. `text` is the text that the token adds to the pane (empty while a character is
    /// incomplete).
    Token {
        pane: Pane,
        index: usize,
        token_id: u32,
        text: String,
    },
    PaneDone {
        pane: Pane,
        generated: Generated,
    },
    Generated(RunRecord),
    Verified {
        compared: Vec<TensorError>,
    },
    Measured {
        figures: Vec<Figure>,
    },
    ScoreProgress(ScoreProgress),
    Scored(ScoreReport),
    Surrounded(SurroundingsReport),
    SweepPoint(SweepPoint),
    Swept(SweepReport),
    Deletion(Deletion),
    Deleted(DeletionReport),
    /// The first state of an outcome, or the whole outcome.
    Outcome(Outcome),
    /// The additions to the outcome of the running experiment since the last event.
    OutcomeDelta(Delta),
    /// The edited model was written, read again and compared.
    Saved(Saved),
    /// The workers that share the arms of a measurement: after a model was loaded that can be shared, after
    /// [`Request::UseWorkers`](super::Request::UseWorkers), and after a helper failed.
    Sharing(Sharing),
    /// The sums of a piece of [`Request::Help`](super::Request::Help).
    Helped(PassageSums),
    /// The request is complete.
    Done,
    /// The request ended because of [`Request::Stop`](super::Request::Stop); events sent before stay valid.
    Stopped,
    Failed(Failure),
}

/// The last outcome in these events, whole or partial; `None` if there is none.
pub fn outcome_of(events: &[Event]) -> Option<Outcome> {
    let mut told = None;
    for event in events {
        match (event, &mut told) {
            (Event::Outcome(outcome), _) => told = Some(outcome.clone()),
            (Event::OutcomeDelta(delta), Some(outcome)) => outcome.apply(delta.clone()),
            _ => {}
        }
    }
    told
}

/// The distance of a tensor from its golden value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    pub name: String,
    /// The largest, over rows, of `max |ours - golden| / rms(golden)`.
    pub relative: f32,
}

/// One figure of speed: the median of several rounds after a warm-up. Each round ends when its result has been read.
///
/// | name | unit | |
/// |---|---|---|
/// | `prefill` | ms | a prompt into an empty cache, until the logits of its last position are read |
/// | `prefill_with_peaks` | ms | the same tokens, with the peaks at input and output of every `down_proj` read: a pass of a scan |
/// | `forward_backward` | ms | a loss, its gradient at every `down_proj` input, and the sums for the scores, read: the cost of scoring a sequence |
/// | `decode_at_N` | tokens/s | greedy, as a run does it, after a context of N tokens |
/// | `decode_both_at_N` | tokens/s | greedy, the intact model and an edited one side by side, counting the tokens of both |
/// | `dispatches` | dispatches | GPU dispatches of a greedy token |
/// | `paths_apart` | of the largest logit | distance of the decode plan's logits from those of plain operations, the largest over some forced tokens |
/// | `paths_disagree` | tokens | forced tokens after which the two paths disagree on the likeliest token, although it leads by 1e-3 of the largest logit |
/// | `apply_edit` | ms | one scalar set to zero, until it can be read back |
/// | `gate_proj`, `down_proj` | TFLOP/s | the first layer's products (`c_fc` if there is no gate), many queued and one read |
/// | `score` | ms | a whole scoring; only from the command and `benches/engine-page.js` |
/// | `experiment` | ms | one of the super-weight paper's experiments, only from the command; `of` is its kind |
/// | `load`, `first_token` | ms | from the engine's start, only from the command; a page counts from its worker's start (`benches/engine-page.js`) |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    /// The value, or `None` if [`Self::missing`] has the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    pub unit: String,
    /// The subject of the measurement, with its sizes: "128 tokens after 1024".
    pub of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}
