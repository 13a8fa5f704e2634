//! The engine: one model, intact and with an ablation, and the requests that it answers.
//!
//! The page's worker and the command use it in the same way: a [`Request`] in, [`Event`]s out. The last event is
//! [`Event::Done`], [`Event::Stopped`] or [`Event::Failed`].

mod bos;
mod confirm;
mod decoder;
mod deletion;
mod device;
mod edit;
pub mod error;
mod experiment;
mod failure;
mod fit;
mod generation;
mod help;
mod helpers;
mod load;
mod measure;
mod memory;
mod prune;
mod run;
mod save;
mod score;
mod scored;
mod surround;
mod sweep;
pub mod verify;

use std::collections::BTreeMap;

use crate::analysis::eval::{self, HeldOut, Measured, Source};
use crate::analysis::many::Bench;
use crate::analysis::prefix::Prefixes;
use crate::analysis::tasks::Task;
use crate::analysis::{means, spikes};
use crate::decode::DecodeGpu;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::families;
use crate::model::weights::Given;
use crate::platform::{self, Files, GpuHealth, Output, PlatformError};
use crate::protocol::{BackendChoice, Event, RangeError, Request};
use crate::tensors::DeviceError;
use crate::terms::{Ablation, Failure, MAX_PROMPT_BYTES, Matrix, ModelInfo, ModelSource, Pane, Pruned, ScanReport};
use crate::tokenizer::Tokenizer;
use device::Devices;
use error::EngineError;
use fit::Prepared;
use help::Helping;
use helpers::Helpers;

/// Returns the [`crate::terms::text_digest`] of the bundled held-out text.
pub fn held_out_digest() -> String {
    HeldOut::bundled_digest()
}

/// `true` if this `model_type` of a `config.json` is supported.
pub fn reads(model_type: &str) -> bool {
    families::knows(model_type)
}

/// The failure of a request that is out of its range.
pub fn refusal(error: RangeError) -> Failure {
    failure::describe(&error.into())
}

/// The engine of one page or command; see the module's documentation.
pub struct Engine {
    control: Control,
    devices: Devices,
    loaded: Option<Loaded>,
    /// The files of the last saved model.
    saved: Option<Output>,
    /// The workers that share this engine's work.
    helpers: Helpers,
    /// The work for another engine, if this is one of its helpers.
    helping: Option<Helping>,
}

/// A loaded model and everything that belongs to it.
struct Loaded {
    info: ModelInfo,
    source: ModelSource,
    intact: Model,
    /// On the CPU, the intact model's tensors, and its `config.json`, for helpers.
    tensors: BTreeMap<String, (Vec<usize>, Given)>,
    config_json: Vec<u8>,
    ablated: Model,
    ablation: Ablation,
    /// The channels that the ablation's pruning removed.
    pruned: Option<Pruned>,
    largest: Vec<(usize, Matrix, usize)>,
    largest_by_tensor: Vec<(usize, Matrix, usize)>,
    /// The tasks that experiments may name.
    tasks: Vec<Task>,
    tokenizer: Tokenizer,
    eos_token_ids: Vec<u32>,
    /// The text that losses are measured on, whose default cut is `held_out`; experiments cut `text` themselves.
    text: Source,
    held_out: HeldOut,
    /// Evaluation of the intact model on `held_out`, if measured.
    intact_evaluation: Option<Measured>,
    scored: Option<scored::Scored>,
    /// The mean of every channel, if computed.
    means: Option<Vec<Vec<f32>>>,
    health: Option<GpuHealth>,
    /// The GPU for decode plans, if a plan agreed with Path A at load.
    decode: Option<DecodeGpu>,
}

impl Engine {
    pub fn new(control: Control) -> Self {
        let helpers = Helpers::new(control.clone());
        Self { control, devices: Devices::default(), loaded: None, saved: None, helpers, helping: None }
    }

    /// Answers one request.
    pub async fn handle(&mut self, request: Request) {
        self.control.clear_stop();
        let answered = match self.check(&request) {
            Ok(()) => self.answer(request).await,
            Err(error) => Err(error.into()),
        };
        let answered = answered.and_then(|()| Ok(self.check_gpu()?));
        self.control.emit(match answered {
            Ok(()) => Event::Done,
            Err(error) if error.is_stop() => Event::Stopped,
            // If the GPU has failed, its error explains all later ones.
            Err(error) => Event::Failed(failure::describe(&self.check_gpu().err().map_or(error, EngineError::from))),
        });
    }

    /// Checks a request against the loaded model, before any work. Without one, or for a model that is not loaded, the
    /// request's own answer does.
    fn check(&self, request: &Request) -> Result<(), RangeError> {
        let is_of_files = matches!(request, Request::Save(order) if order.source.is_some());
        let loaded = self.loaded.as_ref().filter(|_| !is_of_files);
        loaded.map_or(Ok(()), |loaded| request.check(&loaded.intact.config.sizes()))
    }

    async fn answer(&mut self, request: Request) -> Result<(), EngineError> {
        match request {
            Request::Inspect { id, source, backend } => self.inspect(&id, &source, backend).await,
            Request::Stored => self.list_stored().await,
            Request::Forget { key } => {
                platform::forget_stored(key.as_deref()).await.map_err(|why| PlatformError::Store { why })?;
                self.list_stored().await
            }
            Request::Load { id, source, backend, bos } => {
                self.helpers.dismiss();
                let loaded = load::load((&id, &source, backend), bos, &mut self.loaded, &mut self.devices, &self.control).await?;
                self.control.emit(Event::Loaded(loaded.info.clone()));
                self.helpers.tell(self.loaded.insert(loaded));
                Ok(())
            }
            Request::Scan { prompt } => self.scan(prompt).await,
            Request::Confirm { candidates, rows, seed } => self.confirm(&candidates, &rows, seed).await,
            Request::Apply { ablation } => self.apply(ablation).await,
            Request::UseText { name, text, max_tokens } => self.use_text(name, text, max_tokens),
            Request::UseBundledText => self.use_bundled_text(),
            Request::UseTasks { tasks } => self.use_tasks(tasks),
            Request::Experiment(experiment) => self.experiment(experiment).await,
            Request::Evaluate => self.evaluate().await,
            Request::Generate { prompt, sampling } => {
                let record = self.model()?.run(&prompt, sampling, &self.control).await?;
                self.check_gpu()?;
                self.control.emit(Event::Generated(record));
                Ok(())
            }
            Request::Verify { golden } => {
                let model = &self.model()?.intact;
                let compared = verify::compare(model, &golden).await?;
                self.control.emit(Event::Verified { compared });
                Ok(())
            }
            Request::Measure => {
                let figures = self.model()?.measure(&self.control).await?;
                self.check_gpu()?;
                self.control.emit(Event::Measured { figures });
                Ok(())
            }
            Request::Score { text, sequences, length, super_weights, resume } => {
                self.score(score::Asked { text, sequences, length, super_weights, resume }).await
            }
            Request::Surround { rho, eta, support, layer, redundancy } => {
                self.surround(surround::Asked { rho, eta, support, layer, redundancy }).await
            }
            Request::Sweep { prunings } => self.sweep(&prunings).await,
            Request::Delete { per_layer, n_quantiles, layer, seed, replacement } => {
                self.delete(deletion::Asked { per_layer, n_quantiles, layer, seed, replacement }).await
            }
            Request::Save(order) => self.save(order).await,
            Request::UseWorkers { workers } => self.use_workers(workers),
            Request::Help(help) => self.help(help).await,
            Request::Stop => Ok(()),
        }
    }

    async fn inspect(&mut self, id: &str, source: &ModelSource, backend: BackendChoice) -> Result<(), EngineError> {
        let files = self.control.unless_stopped(Files::find(source)).await??;
        let prepared = Prepared::of(&files, backend, &mut self.devices, &self.control).await?;
        let inspection = prepared.inspection(id).await;
        self.control.emit(Event::Inspected(inspection));
        Ok(())
    }

    async fn list_stored(&self) -> Result<(), EngineError> {
        self.control.emit(Event::Stored { models: platform::stored_models().await });
        Ok(())
    }

    fn model(&self) -> Result<&Loaded, EngineError> {
        self.loaded.as_ref().ok_or(EngineError::NotLoaded)
    }

    /// Checks that the GPU has reported no error.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Gpu`] once the GPU has reported an error, because its later results may be wrong.
    fn check_gpu(&self) -> Result<(), DeviceError> {
        self.loaded.as_ref().map_or(Ok(()), Loaded::check_gpu)
    }

    async fn scan(&self, prompt: String) -> Result<(), EngineError> {
        let loaded = self.model()?;
        let ids = loaded.prompt_ids(&prompt)?;
        let found = spikes::find_spikes(&loaded.intact, &ids, &loaded.tokenizer, &self.control).await?;
        self.check_gpu()?;
        self.control.emit(Event::Scanned(ScanReport {
            model: loaded.info.model.clone(),
            prompt,
            tokens: ids.iter().map(|id| loaded.tokenizer.token_text(*id)).collect(),
            inputs: found.inputs,
            outputs: found.outputs,
            candidates: found.candidates,
            stopped: found.stopped,
            outputs_after: found.outputs_after,
        }));
        Ok(())
    }

    async fn evaluate(&mut self) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let n_tokens = loaded.held_out.n_tokens();
        let progress = |pane: usize| {
            let control = control.clone();
            move |done: usize| control.progress("evaluating", (pane * n_tokens + done) as f64, 2.0 * n_tokens as f64, "tokens")
        };
        let intact = loaded.measured_intact(&control, progress(0)).await?.evaluation;
        control.emit(Event::Evaluated { pane: Pane::Intact, evaluation: intact.clone() });
        let ablated = match loaded.ablation.is_empty() {
            true => intact,
            false => {
                let (model, ablation) = (&loaded.ablated, &loaded.ablation);
                eval::evaluate(model, ablation, &loaded.held_out, &mut Prefixes::none(), &control, progress(1)).await?
            }
        };
        self.check_gpu()?;
        control.emit(Event::Evaluated { pane: Pane::Ablated, evaluation: ablated });
        Ok(())
    }
}

impl Loaded {
    /// See [`Engine::check_gpu`].
    fn check_gpu(&self) -> Result<(), DeviceError> {
        DeviceError::check_health(self.health.as_ref())
    }

    /// The intact model and the held-out text, for a job with many changed models.
    fn bench<'a>(
        &'a self,
        with_stopwords: bool,
        means: Option<&'a [Vec<f32>]>,
        helpers: &'a mut Helpers,
        control: &'a Control,
    ) -> Bench<'a> {
        Bench { model: &self.intact, text: &self.held_out, means, with_stopwords, crew: helpers, patience: helpers::PATIENCE, control }
    }

    /// Computes the mean activation of every channel, unless it is known.
    async fn know_means(&mut self, control: &Control) -> Result<(), EngineError> {
        if self.means.is_none() {
            let found = means::channel_means(&self.intact, &self.tokenizer, self.info.max_position_embeddings, control).await?;
            self.check_gpu()?;
            self.means = Some(found);
        }
        Ok(())
    }

    /// Measures the intact model on the held-out text, once.
    async fn measured_intact(&mut self, control: &Control, progress: impl FnMut(usize)) -> Result<Measured, EngineError> {
        if let Some(known) = &self.intact_evaluation {
            return Ok(known.clone());
        }
        let measured = eval::measure(&self.intact, &Ablation::default(), &self.held_out, &mut Prefixes::none(), control, progress).await?;
        self.check_gpu()?;
        self.intact_evaluation = Some(measured.clone());
        Ok(measured)
    }

    /// Encodes a prompt.
    ///
    /// # Errors
    ///
    /// An empty prompt, one of more than [`MAX_PROMPT_BYTES`], a prompt that leaves no room for a new token, or one that does not fit into memory.
    fn prompt_ids(&self, prompt: &str) -> Result<Vec<u32>, EngineError> {
        if prompt.trim().is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if prompt.len() > MAX_PROMPT_BYTES {
            return Err(EngineError::PromptTooLarge { got: prompt.len(), limit: MAX_PROMPT_BYTES });
        }
        let ids = self.tokenizer.encode(prompt)?;
        if ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let limit = self.info.max_position_embeddings;
        if ids.len() >= limit {
            return Err(EngineError::PromptTooLong { got: ids.len(), limit });
        }
        self.check_length(ids.len())?;
        Ok(ids)
    }
}
