//! The one place where an error becomes a failure: a problem with a next step, and the error as its cause.

use serde::Deserialize;

use super::error::EngineError;
use crate::analysis::AnalysisError;
use crate::experiments::ExperimentError;
use crate::loading::LoadingError;
use crate::model::ModelError;
use crate::platform::PlatformError;
use crate::saving::SavingError;
use crate::tensors::DeviceError;
use crate::terms::{Cell, Failure, LimitError, Message, Problem};
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;

pub(super) fn describe(error: &EngineError) -> Failure {
    Failure { problem: of_engine(error), cause: cause(error), detail: error.to_string() }
}

/// The error by the name of its variant, with its fields as arguments.
fn cause(error: &EngineError) -> Option<Message> {
    let written = serde_json::to_value(error).ok()?;
    let mut args = written.as_object()?.clone();
    let code = args.remove("code")?;
    let args = args.into_iter().map(|(name, value)| {
        // A list or a truth value is no cell, and stands as its JSON.
        let cell = Cell::deserialize(&value).unwrap_or_else(|_| value.to_string().into());
        (name, cell)
    });
    Some(Message { code: code.as_str()?.into(), args: args.collect() })
}

fn of_engine(error: &EngineError) -> Problem {
    match error {
        EngineError::Stopped(_) => Problem::Stopped,
        EngineError::NotLoaded => Problem::NoModel,
        EngineError::NotScored => Problem::NoScores,
        EngineError::NoBos => Problem::NoBos,
        EngineError::EmptyPrompt => Problem::EmptyPrompt,
        EngineError::OtherText { .. } => Problem::OtherText,
        EngineError::NoTask { .. } => Problem::TaskMissing,
        EngineError::PromptTooLong { .. } | EngineError::PromptTooLarge { .. } => Problem::PromptTooLong,
        EngineError::TooLong { .. } | EngineError::TextTooLarge { .. } => Problem::TooMuchText,
        EngineError::Setting(_) => Problem::SettingOutOfRange,
        EngineError::Limit(error) => of_limit(error),
        EngineError::MemoryTooSmall { .. } => Problem::MemoryTooSmall,
        EngineError::NoGpu { .. } => Problem::NoGpu,
        EngineError::SelfCheck { .. } => Problem::SelfCheckFailed,
        EngineError::Analysis(error) => of_analysis(error),
        EngineError::Experiment(error) => of_experiment(error),
        EngineError::Loading(error) => of_loading(error),
        EngineError::Model(error) => of_model(error),
        EngineError::Weights(error) => of_weights(error),
        EngineError::Tokenizer(error) => of_tokenizer(error),
        EngineError::Saving(error) => of_saving(error),
        EngineError::Platform(error) => of_platform(error),
        EngineError::Device(error) => of_device(error),
    }
}

fn of_analysis(error: &AnalysisError) -> Problem {
    match error {
        AnalysisError::Stopped(_) => Problem::Stopped,
        AnalysisError::EmptyText => Problem::EmptyText,
        AnalysisError::UnknownTask { .. } => Problem::UnknownTask,
        AnalysisError::TaskLine { .. } | AnalysisError::EmptyTask { .. } => Problem::BrokenTask,
        AnalysisError::Model(error) => of_model(error),
        AnalysisError::Tokenizer(error) => of_tokenizer(error),
        AnalysisError::Device(error) => of_device(error),
    }
}

fn of_experiment(error: &ExperimentError) -> Problem {
    match error {
        ExperimentError::Stopped(_) => Problem::Stopped,
        ExperimentError::NoSuperWeights { .. } => Problem::NoSuperWeights,
        ExperimentError::Setting(_) | ExperimentError::Bounds(_) => Problem::SettingOutOfRange,
        ExperimentError::Analysis(error) => of_analysis(error),
        ExperimentError::Model(error) => of_model(error),
        ExperimentError::Tokenizer(error) => of_tokenizer(error),
        ExperimentError::Device(error) => of_device(error),
    }
}

fn of_loading(error: &LoadingError) -> Problem {
    match error {
        LoadingError::Stopped(_) => Problem::Stopped,
        LoadingError::Weights(error) => of_weights(error),
        LoadingError::Platform(error) => of_platform(error),
        LoadingError::Device(error) => of_device(error),
    }
}

fn of_saving(error: &SavingError) -> Problem {
    match error {
        SavingError::Stopped(_) => Problem::Stopped,
        SavingError::NoEdit => Problem::NothingToSave,
        SavingError::Interventions | SavingError::NoBias { .. } => Problem::NotInWeights,
        SavingError::NothingToCut { .. } | SavingError::NoChannelLeft => Problem::NoCut,
        SavingError::TooLarge { .. } => Problem::ValueTooLarge,
        SavingError::ReadBack { .. } => Problem::SavedDiffers,
        SavingError::ConfigChange { .. } => Problem::BrokenConfig,
        SavingError::Loading(error) => of_loading(error),
        SavingError::Weights(error) => of_weights(error),
        SavingError::Model(error) => of_model(error),
        SavingError::Limit(error) => of_limit(error),
        SavingError::Platform(error) => of_platform(error),
    }
}

fn of_tokenizer(error: &TokenizerError) -> Problem {
    match error {
        TokenizerError::NoSuchToken { .. } => Problem::UnknownToken,
        TokenizerError::Pattern { .. } => Problem::TokenizerPattern,
        TokenizerError::Config { .. } => Problem::BrokenConfig,
        _ => Problem::TokenizerMismatch,
    }
}

fn of_device(error: &DeviceError) -> Problem {
    match error {
        DeviceError::GpuTooSmall { .. } => Problem::GpuTooSmall,
        DeviceError::Gpu { .. } | DeviceError::Execution { .. } => Problem::DeviceFailed,
        DeviceError::NonFinite { .. } => Problem::NumbersOverflowed,
    }
}

fn of_platform(error: &PlatformError) -> Problem {
    match error {
        PlatformError::Address { .. } => Problem::NoAddress,
        PlatformError::NoRepository { .. } | PlatformError::NoRevision { .. } => Problem::NoSuchModel,
        PlatformError::Denied { .. } => Problem::AccessDenied,
        PlatformError::Unreachable { .. } => Problem::ServerSilent,
        PlatformError::Cut { .. } => Problem::DownloadCut,
        PlatformError::Changed { .. } => Problem::FileChanged,
        PlatformError::Corrupt { .. } => Problem::FileCorrupt,
        PlatformError::Altered { .. } => Problem::CacheAltered,
        PlatformError::NotCached { .. } => Problem::NotInCache,
        PlatformError::Cache { .. } => Problem::CacheNotWritable,
        PlatformError::Write { .. } => Problem::OutputNotWritable,
        PlatformError::Damaged { .. } => Problem::StoreDamaged,
        PlatformError::Store { .. } => Problem::StoreRefused,
        PlatformError::LfsPointer { .. } => Problem::LfsPointer,
        PlatformError::TooLarge { .. } => Problem::FileTooLarge,
        PlatformError::Read { .. } => Problem::FileUnreadable,
    }
}

fn of_limit(error: &LimitError) -> Problem {
    match error {
        LimitError::Outside { .. } => Problem::PlaceOutside,
        LimitError::Scale { .. } => Problem::ScaleOutOfRange,
        _ => Problem::SettingOutOfRange,
    }
}

fn of_model(error: &ModelError) -> Problem {
    match error {
        ModelError::Limit(error) => of_limit(error),
        ModelError::UnknownArchitecture { .. } | ModelError::Unsupported { .. } => Problem::UnknownArchitecture,
        ModelError::Quantised { .. } => Problem::Quantised,
        ModelError::NoMean => Problem::MeanMissing,
        ModelError::Config { .. } => Problem::BrokenConfig,
    }
}

fn of_weights(error: &WeightsError) -> Problem {
    match error {
        WeightsError::MissingFile { .. } => Problem::FileMissing,
        WeightsError::NonFinite { .. } => Problem::WeightsNotFinite,
        WeightsError::UnsupportedDtype { .. } => Problem::UnsupportedDtype,
        WeightsError::Shape { .. } | WeightsError::MissingTensor { .. } => Problem::WeightsMismatch,
        WeightsError::NotInShard { .. } | WeightsError::InTwoShards { .. } | WeightsError::Empty { .. } => Problem::WeightsIncomplete,
        WeightsError::Quantised { .. } => Problem::Quantised,
        WeightsError::Adapter { .. }
        | WeightsError::UnknownDtype { .. }
        | WeightsError::TooManyTensors { .. }
        | WeightsError::ShardName { .. } => Problem::UnsupportedFile,
        _ => Problem::WeightsDamaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{SettingError, Stopped};
    use crate::terms::Coordinate;

    #[test]
    fn errors_of_every_room_are_causes_with_their_fields() {
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        let limit = LimitError::Outside { what: Coordinate::Row, got: 300, limit: 256 };
        let setting = crate::terms::SettingError { id: crate::terms::SettingId::Bits, problem: crate::terms::SettingProblem::Missing };
        for (error, id) in [
            (EngineError::NotLoaded, "not_loaded".to_owned()),
            (EngineError::PromptTooLong { got: 600, limit: 512 }, "prompt_too_long got=600 limit=512".into()),
            (LoadingError::Stopped(Stopped).into(), "stopped".into()),
            (LoadingError::Weights(WeightsError::missing_tensor("a.b")).into(), "missing_tensor name=a.b".into()),
            (
                WeightsError::Shape { name: "a".into(), expected: vec![2, 3], got: vec![6] }.into(),
                "shape expected=[2,3] got=[6] name=a".into(),
            ),
            (WeightsError::HeaderJson { source: json }.into(), "header_json source=expected value at line 1 column 1".into()),
            (AnalysisError::Model(ModelError::Limit(limit)).into(), "outside got=300 limit=256 what=row".into()),
            (ExperimentError::Bounds(setting).into(), "missing id=bits".into()),
            (
                SettingError { key: "length", got: "0".into(), expected: "2 or more" }.into(),
                "setting expected=2 or more got=0 key=length".into(),
            ),
            (DeviceError::NonFinite { what: "the loss" }.into(), "non_finite what=the loss".into()),
        ] {
            let failure = describe(&error);
            assert_eq!((failure.cause.unwrap().id(), failure.detail), (id, error.to_string()));
        }
    }
}
