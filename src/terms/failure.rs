//! Failures: the problem as a code, and the error behind it. The room `language` makes sentences of them.

use serde::{Deserialize, Serialize};

use super::Message;

/// Work that ended without a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub problem: Problem,
    /// The error, as a code with its figures: `missing_tensor` with `name`. Codes are unique within a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Message>,
    /// The error's own text, with the figures, in English; empty if the problem says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The subject of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Something the visitor typed or opened.
    Input,
    /// The model's files.
    Model,
    /// Network or disk.
    Transport,
    /// The GPU: missing, too small, lost, out of memory. Nothing it computed since is shown as a finding.
    Device,
    /// A bug of ours.
    Internal,
}

/// A problem that people are told of, with one next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    Stopped,
    SettingOutOfRange,
    NoModel,
    NoScores,
    EmptyPrompt,
    /// A BOS is asked for, and the model's files name none.
    NoBos,
    OtherText,
    TaskMissing,
    PromptTooLong,
    TooMuchText,
    EmptyText,
    UnknownTask,
    BrokenTask,
    NoSuperWeights,
    NothingToSave,
    NotInWeights,
    NoCut,
    ValueTooLarge,
    UnknownToken,
    PlaceOutside,
    ScaleOutOfRange,
    NoAddress,
    /// A page that came over https may not read this http address.
    InsecureAddress,
    NoSuchModel,
    AccessDenied,

    TokenizerMismatch,
    /// A pattern that the browser's reader may take otherwise.
    TokenizerPattern,
    /// A file whose contents Git LFS has not fetched.
    LfsPointer,
    /// Weights that stand for others.
    Quantised,
    FileCorrupt,
    CacheAltered,
    FileTooLarge,
    UnknownArchitecture,
    BrokenConfig,
    FileMissing,
    WeightsNotFinite,
    UnsupportedDtype,
    WeightsMismatch,
    /// Tensors that are empty, or not in the file that the index names.
    WeightsIncomplete,
    UnsupportedFile,
    WeightsDamaged,

    ServerSilent,
    DownloadCut,
    FileChanged,
    FileUnreadable,
    NotInCache,
    CacheNotWritable,
    OutputNotWritable,
    SavedDiffers,
    StoreDamaged,
    StoreRefused,

    MemoryTooSmall,
    NoGpu,
    SelfCheckFailed,
    GpuTooSmall,
    DeviceFailed,
    NumbersOverflowed,

    MeanMissing,
    ResultNotHeld,
    EngineCrashed,
    EngineStopped,
    /// The worker could not be made.
    EngineNotCreated,
    /// The worker did not report in time.
    EngineNotStarted,
    EngineUnreachable,
    /// A message of the engine could not be decoded by the browser.
    MessageDamaged,
    /// A message of the engine is none that the page knows.
    MessageUnknown,
    /// A message of the page is none that the engine knows.
    RequestUnknown,
    OtherVersion,
}

impl Problem {
    #[expect(clippy::too_many_lines, reason = "a table, which the compiler keeps whole")]
    pub fn kind(self) -> FailureKind {
        match self {
            Self::Stopped
            | Self::SettingOutOfRange
            | Self::NoModel
            | Self::NoScores
            | Self::EmptyPrompt
            | Self::NoBos
            | Self::OtherText
            | Self::TaskMissing
            | Self::PromptTooLong
            | Self::TooMuchText
            | Self::EmptyText
            | Self::UnknownTask
            | Self::BrokenTask
            | Self::NoSuperWeights
            | Self::NothingToSave
            | Self::NotInWeights
            | Self::NoCut
            | Self::ValueTooLarge
            | Self::UnknownToken
            | Self::PlaceOutside
            | Self::ScaleOutOfRange
            | Self::NoAddress
            | Self::InsecureAddress
            | Self::NoSuchModel
            | Self::AccessDenied => FailureKind::Input,
            Self::TokenizerMismatch
            | Self::TokenizerPattern
            | Self::LfsPointer
            | Self::Quantised
            | Self::FileCorrupt
            | Self::CacheAltered
            | Self::FileTooLarge
            | Self::UnknownArchitecture
            | Self::BrokenConfig
            | Self::FileMissing
            | Self::WeightsNotFinite
            | Self::UnsupportedDtype
            | Self::WeightsMismatch
            | Self::WeightsIncomplete
            | Self::UnsupportedFile
            | Self::WeightsDamaged => FailureKind::Model,
            Self::ServerSilent
            | Self::DownloadCut
            | Self::FileChanged
            | Self::FileUnreadable
            | Self::NotInCache
            | Self::CacheNotWritable
            | Self::OutputNotWritable
            | Self::SavedDiffers
            | Self::StoreDamaged
            | Self::StoreRefused => FailureKind::Transport,
            Self::MemoryTooSmall
            | Self::NoGpu
            | Self::SelfCheckFailed
            | Self::GpuTooSmall
            | Self::DeviceFailed
            | Self::NumbersOverflowed => FailureKind::Device,
            Self::MeanMissing
            | Self::ResultNotHeld
            | Self::EngineCrashed
            | Self::EngineStopped
            | Self::EngineNotCreated
            | Self::EngineNotStarted
            | Self::EngineUnreachable
            | Self::MessageDamaged
            | Self::MessageUnknown
            | Self::RequestUnknown
            | Self::OtherVersion => FailureKind::Internal,
        }
    }
}

impl Failure {
    /// A failure without an error behind it.
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        Self { problem, cause: None, detail: detail.into() }
    }

    pub fn kind(&self) -> FailureKind {
        self.problem.kind()
    }
}
