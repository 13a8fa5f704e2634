//! The one place where an error becomes words for the user.

use super::error::EngineError;
use crate::analysis::AnalysisError;
use crate::experiments::ExperimentError;
use crate::loading::LoadingError;
use crate::model::ModelError;
use crate::platform::PlatformError;
use crate::protocol::{Failure, FailureKind};
use crate::tensors::DeviceError;
use crate::terms::LimitError;
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;

/// Whose business a failure is, what happened, and what to do next.
type Words = (FailureKind, &'static str, &'static str);

const STOPPED: Words = (FailureKind::Input, "Stopped", "Start again whenever you like.");
const OUT_OF_RANGE: Words = (FailureKind::Input, "A setting is out of range", "Change it and try again.");

/// What happened, why, and what to do next.
pub(super) fn describe(error: &EngineError) -> Failure {
    let (kind, what, next_step) = of_engine(error);
    Failure { kind, what: what.into(), why: error.to_string(), next_step: next_step.into() }
}

fn of_engine(error: &EngineError) -> Words {
    match error {
        EngineError::Stopped(_) => STOPPED,
        EngineError::NotLoaded => (FailureKind::Input, "There is no model yet", "Load a model first."),
        EngineError::NotScored => (FailureKind::Input, "No channel was scored yet", "Score the channels first."),
        EngineError::EmptyPrompt => (FailureKind::Input, "There is nothing to read", "Type a few words into the prompt."),
        EngineError::OtherText { .. } => {
            (FailureKind::Input, "The text is another one", "Use the text that the experiment names, or leave its digest out.")
        }
        EngineError::NoTask { .. } => (FailureKind::Input, "A task's file is missing", "Give the file of every task that is named."),
        EngineError::PromptTooLong { .. } => {
            (FailureKind::Input, "The prompt is too long", "Shorten it, so that room is left for new text.")
        }
        EngineError::TooLong { .. } => {
            (FailureKind::Input, "That is more text at once than fits into memory here", "Ask for fewer tokens at once.")
        }
        EngineError::Setting(_) => OUT_OF_RANGE,
        EngineError::Limit(error) => of_limit(error),
        EngineError::MemoryTooSmall { .. } => (
            FailureKind::Device,
            "This model is too large for the CPU path of a browser",
            "Choose a smaller model, use a browser with WebGPU, or run it with the command on a machine of your own.",
        ),
        EngineError::NoGpu { .. } => (FailureKind::Device, "There is no GPU to run on", "Run on the CPU, or use a browser with WebGPU."),
        EngineError::SelfCheck { .. } => (
            FailureKind::Device,
            "This device does not compute what the model should",
            "Run it on the CPU; if it fails there too, get the model's files again.",
        ),
        EngineError::Analysis(error) => of_analysis(error),
        EngineError::Experiment(error) => of_experiment(error),
        EngineError::Loading(error) => of_loading(error),
        EngineError::Model(error) => of_model(error),
        EngineError::Weights(error) => of_weights(error),
        EngineError::Tokenizer(error) => of_tokenizer(error),
        EngineError::Platform(error) => of_platform(error),
        EngineError::Device(error) => of_device(error),
    }
}

fn of_analysis(error: &AnalysisError) -> Words {
    match error {
        AnalysisError::Stopped(_) => STOPPED,
        AnalysisError::EmptyText => (FailureKind::Input, "There is nothing to measure on", "Choose a longer text."),
        AnalysisError::UnknownTask { .. } => {
            (FailureKind::Input, "There is no such task", "Name the file by the task that its lines are of.")
        }
        AnalysisError::TaskLine { .. } | AnalysisError::EmptyTask { .. } => (
            FailureKind::Input,
            "A task's file cannot be used",
            "Correct the file: a row of JSON in each line, in one of the forms that the task is known in.",
        ),
        AnalysisError::Model(error) => of_model(error),
        AnalysisError::Tokenizer(error) => of_tokenizer(error),
        AnalysisError::Device(error) => of_device(error),
    }
}

fn of_experiment(error: &ExperimentError) -> Words {
    match error {
        ExperimentError::Stopped(_) => STOPPED,
        ExperimentError::NoSuperWeights { .. } => {
            (FailureKind::Input, "There is no super weight to remove", "Scan a prompt for candidates, or name a scalar yourself.")
        }
        ExperimentError::Setting(_) | ExperimentError::Bounds(_) => OUT_OF_RANGE,
        ExperimentError::Analysis(error) => of_analysis(error),
        ExperimentError::Model(error) => of_model(error),
        ExperimentError::Tokenizer(error) => of_tokenizer(error),
        ExperimentError::Device(error) => of_device(error),
    }
}

fn of_loading(error: &LoadingError) -> Words {
    match error {
        LoadingError::Stopped(_) => STOPPED,
        LoadingError::Weights(error) => of_weights(error),
        LoadingError::Platform(error) => of_platform(error),
        LoadingError::Device(error) => of_device(error),
    }
}

fn of_tokenizer(error: &TokenizerError) -> Words {
    match error {
        TokenizerError::NoSuchToken { .. } => (FailureKind::Input, "The model does not know this token", "Take it out of the text."),
        _ => (
            FailureKind::Model,
            "The tokenizer does not work with this model",
            "Use the tokenizer.json that was published with these weights.",
        ),
    }
}

fn of_device(error: &DeviceError) -> Words {
    match error {
        DeviceError::GpuTooSmall { .. } => {
            (FailureKind::Device, "This GPU is too small for this model", "Choose a smaller model, or run it on the CPU.")
        }
        DeviceError::Gpu { .. } | DeviceError::Execution { .. } => (
            FailureKind::Device,
            "The device failed, and nothing from this run is shown as a finding",
            "Restart the engine; what was computed before stays. If it happens again, run on the CPU.",
        ),
        DeviceError::NonFinite { .. } => (
            FailureKind::Device,
            "The numbers overflowed",
            "Make the edit smaller, or reset it; if the intact model does this too, run it on the CPU.",
        ),
    }
}

fn of_platform(error: &PlatformError) -> Words {
    match error {
        PlatformError::Address { .. } => (FailureKind::Input, "That is no place to load a model from", "Correct it and load again."),
        PlatformError::NoRepository { .. } | PlatformError::NoRevision { .. } => {
            (FailureKind::Input, "There is no such model on the server", "Check the spelling of its name and its revision.")
        }
        PlatformError::Denied { .. } => (
            FailureKind::Input,
            "The server does not give out this model without permission",
            "Check its name. If that is right, accept the licence on the model's own page, make an access token, and load again with it \
             (the command reads it from HF_TOKEN).",
        ),
        PlatformError::Unreachable { .. } => (
            FailureKind::Transport,
            "The server does not answer",
            "Check the connection and the address. A server elsewhere has to let other pages read its files (CORS). What is stored here stays.",
        ),
        PlatformError::Cut { .. } => (
            FailureKind::Transport,
            "The download was cut",
            "Check the connection and the server's address, then load the model again: what has arrived is kept where that is possible, \
             and the rest is fetched.",
        ),
        PlatformError::Changed { .. } => (
            FailureKind::Transport,
            "The file on the server has changed",
            "Load the model again from its beginning; if its revision is fixed, somebody has altered the file.",
        ),
        PlatformError::Corrupt { .. } => (
            FailureKind::Model,
            "The file is not what was published",
            "It was damaged or altered on its way, and nothing of it is used or kept. Load the model again, or from another server.",
        ),
        PlatformError::Altered { .. }
        | PlatformError::NotCached { .. }
        | PlatformError::Cache { .. }
        | PlatformError::Damaged { .. }
        | PlatformError::Store { .. } => of_store(error),
        PlatformError::TooLarge { .. } => (
            FailureKind::Model,
            "A file is larger than such a file may be",
            "Use the files as they were published. A server has to tell how long its files are, or to serve ranges of them.",
        ),
        PlatformError::Read { .. } => {
            (FailureKind::Transport, "A file could not be read", "Check the connection or the disk, then load the model again.")
        }
    }
}

/// A fault of what is kept of models: in a browser's store, or in the cache on a disk.
fn of_store(error: &PlatformError) -> Words {
    match error {
        PlatformError::Altered { .. } => (
            FailureKind::Model,
            "A file in the cache is not what was published",
            "Remove that file and load the model again: it is then fetched anew.",
        ),
        PlatformError::NotCached { .. } => (
            FailureKind::Transport,
            "The model is not on this machine, and the Hub could not be asked for it",
            "Check the connection, and whether HF_HUB_OFFLINE is set. Once a model is in the cache, no network is needed for it.",
        ),
        PlatformError::Cache { .. } => (
            FailureKind::Transport,
            "The cache on this disk could not be written",
            "Make room for it, or set HF_HOME to a folder of yours, then load the model again.",
        ),
        PlatformError::Damaged { .. } => (
            FailureKind::Transport,
            "What this browser had stored of the model is damaged",
            "Load the model again: what is damaged is fetched again.",
        ),
        _ => (FailureKind::Transport, "The browser refused to store or to read the file", "Close other tabs of this page, and try again."),
    }
}

fn of_limit(error: &LimitError) -> Words {
    match error {
        LimitError::Outside { .. } => {
            (FailureKind::Input, "That place is outside the model", "Choose one within its layers, rows and columns.")
        }
        LimitError::Scale { .. } => (FailureKind::Input, "That scale is out of range", "Choose one that is nearer to 0."),
        _ => OUT_OF_RANGE,
    }
}

fn of_model(error: &ModelError) -> (FailureKind, &'static str, &'static str) {
    match error {
        ModelError::Limit(error) => of_limit(error),
        ModelError::UnknownArchitecture { .. } | ModelError::Unsupported { .. } => {
            (FailureKind::Model, "Linchpin cannot run this kind of model yet", "Choose a model of one of the known families.")
        }
        ModelError::NoMean => (FailureKind::Internal, "A channel's mean is missing", "Report it with what you did before."),
        ModelError::Config { .. } => {
            (FailureKind::Model, "The model's configuration is broken", "Get its folder again, complete and unchanged.")
        }
    }
}

fn of_weights(error: &WeightsError) -> Words {
    match error {
        WeightsError::MissingFile { .. } => (
            FailureKind::Model,
            "A file of the model is missing",
            "A model is a folder with config.json, tokenizer.json and its weights as model.safetensors, or as shards with \
             model.safetensors.index.json; other formats are not read. Choose one that has them.",
        ),
        WeightsError::NonFinite { .. } => {
            (FailureKind::Model, "The weights hold NaN or infinity", "Get the model's files again from their source.")
        }
        WeightsError::UnsupportedDtype { .. } => {
            (FailureKind::Model, "The weights are of a type that Linchpin cannot read", "Use a checkpoint in f32, f16 or bf16.")
        }
        WeightsError::Shape { .. } | WeightsError::MissingTensor { .. } => {
            (FailureKind::Model, "The weights do not match the configuration", "Use the config.json that was published with these weights.")
        }
        WeightsError::UnknownDtype { .. } | WeightsError::TooManyTensors { .. } | WeightsError::ShardName { .. } => (
            FailureKind::Model,
            "The weights file is of a kind that Linchpin does not read",
            "Use a checkpoint as transformers saves it, in f32, f16 or bf16.",
        ),
        _ => (FailureKind::Model, "The weights file is damaged", "Download it again; it may have been cut short."),
    }
}
