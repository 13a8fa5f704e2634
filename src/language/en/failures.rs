//! Failures: the problem, the reason, and the next step.

use crate::terms::{Failure, Problem};

/// Everything computed stays, and a new engine helps.
const RESTART: &str =
    "Everything computed so far is still on the page. Press “Restart engine” to start a new one and load the model again.";

/// The reason, with the figures: the error's own text where there is one.
pub fn reason(failure: &Failure) -> String {
    if let Some(reason) = noticed(failure) {
        return reason;
    }
    let known = match failure.problem {
        Problem::InsecureAddress => "This page was loaded over https, so browsers only let it read http addresses of this computer.",
        Problem::EngineNotCreated => "This browser refused to start a module worker.",
        Problem::EngineUnreachable => "It did not accept a message.",
        Problem::MessageDamaged => "The browser could not decode it.",
        Problem::EngineStopped if failure.detail.is_empty() => {
            "Its program could not be downloaded: is this page complete, and are you online?"
        }
        _ => &failure.detail,
    };
    known.into()
}

/// The reason of a failure that the page itself notices, with its figures.
fn noticed(failure: &Failure) -> Option<String> {
    let cause = failure.cause.as_ref()?;
    let number = |name: &str| cause.number(name);
    Some(match failure.problem {
        Problem::OtherVersion => {
            let (page, engine) = (number("page"), number("engine"));
            format!("The page has version {page}, the engine version {engine}: your browser kept an old file.")
        }
        Problem::EngineStopped => "Its worker ended without an error: the browser may have needed its memory.".into(),
        Problem::EngineNotStarted => format!("It did not answer within {} seconds.", number("seconds")),
        _ => return None,
    })
}

/// The problem, and the next step.
#[expect(clippy::too_many_lines, reason = "a table, which the compiler keeps whole")]
pub fn words(problem: Problem) -> (&'static str, &'static str) {
    match problem {
        Problem::Stopped => ("Stopped", "Start again whenever you like."),
        Problem::SettingOutOfRange => ("A setting is out of range", "Change it and try again."),
        Problem::NoModel => ("There is no model yet", "Load a model first."),
        Problem::NoScores => ("No channel was scored yet", "Score the channels first."),
        Problem::EmptyPrompt => ("There is nothing to read", "Type a few words into the prompt."),
        Problem::NoBos => ("This model has no BOS", "Leave it out, or begin the prompt with the token that you mean."),
        Problem::OtherText => ("The text is another one", "Use the text that the experiment names, or leave its digest out."),
        Problem::TaskMissing => ("A task's file is missing", "Give the file of every task that is named."),
        Problem::PromptTooLong => ("The prompt is too long", "Shorten it, so that room is left for new text."),
        Problem::TooMuchText => {
            ("That is more text at once than can be read here", "Use a part of the text, or ask for fewer tokens at once.")
        }
        Problem::EmptyText => ("There is nothing to measure on", "Choose a longer text."),
        Problem::UnknownTask => ("There is no such task", "Name the file by the task that its lines are of."),
        Problem::BrokenTask => {
            ("A task's file cannot be used", "Correct the file: a row of JSON in each line, in one of the forms that the task is known in.")
        }
        Problem::NoSuperWeights => ("There is no super weight to remove", "Scan a prompt for candidates, or name a scalar yourself."),
        Problem::NothingToSave => ("There is no edit to save", "Name an edit, or a rule that removes channels."),
        Problem::NotInWeights => (
            "This edit cannot be kept in the weights of this model",
            "Remove the channel instead of setting it to its mean, or leave the edit out.",
        ),
        Problem::NoCut => {
            ("Nothing can be cut out of this model", "Save it with the removed channels set to zero, or remove channels in every layer.")
        }
        Problem::ValueTooLarge => ("An edited weight is too large for the checkpoint's type", "Choose a scale that is nearer to 0."),
        Problem::UnknownToken => ("The model does not know this token", "Take it out of the text."),
        Problem::PlaceOutside => ("That place is outside the model", "Choose one within its layers, rows and columns."),
        Problem::ScaleOutOfRange => ("That scale is out of range", "Choose one that is nearer to 0."),
        Problem::NoAddress => ("No model can be loaded from this name or address", "Correct it and load again."),
        Problem::InsecureAddress => ("This address cannot be read from here", "Serve the models over https, or open a folder."),
        Problem::NoSuchModel => ("There is no such model on the server", "Check the spelling of its name and its revision."),
        Problem::AccessDenied => (
            "The server does not give out this model without permission",
            "Check its name. If that is right, accept the licence on the model's own page, make an access token, and load again with it \
             (the command reads it from HF_TOKEN).",
        ),
        Problem::TokenizerMismatch => {
            ("The tokenizer does not work with this model", "Use the tokenizer.json that was published with these weights.")
        }
        Problem::TokenizerPattern => (
            "A browser cannot read this tokenizer as it is meant",
            "Run this model with the command, which has the reader that such patterns are written for.",
        ),
        Problem::LfsPointer => (
            "A file of the model is only a pointer of Git LFS",
            "Fetch its contents: install git-lfs and run `git lfs pull` in the folder, or download the file itself.",
        ),
        Problem::Quantised => (
            "The checkpoint is quantised, and Linchpin reads only weights as they were trained",
            "Take the checkpoint that it was made from, in f32, f16 or bf16: the model's page names it as its base model.",
        ),
        Problem::FileCorrupt => (
            "The file is not what was published",
            "It was damaged or altered on its way, and nothing of it is used or kept. Load the model again, or from another server.",
        ),
        Problem::CacheAltered => {
            ("A file in the cache is not what was published", "Remove that file and load the model again: it is then fetched anew.")
        }
        Problem::FileTooLarge => (
            "A file is larger than such a file may be",
            "Use the files as they were published. A server has to tell how long its files are, or to serve ranges of them.",
        ),
        Problem::UnknownArchitecture => ("Linchpin cannot run this kind of model yet", "Choose a model of one of the known families."),
        Problem::BrokenConfig => (
            "The model's configuration is broken",
            "Correct the key in that file, or take the file as transformers saves it with the model.",
        ),
        Problem::FileMissing => (
            "A file of the model is missing",
            "A model is a folder with config.json, tokenizer.json and its weights as model.safetensors, or as shards with \
             model.safetensors.index.json; other formats are not read. Choose one that has them.",
        ),
        Problem::WeightsNotFinite => ("The weights hold NaN or infinity", "Get the model's files again from their source."),
        Problem::UnsupportedDtype => ("The weights are of a type that Linchpin cannot read", "Use a checkpoint in f32, f16 or bf16."),
        Problem::WeightsMismatch => {
            ("The weights do not match the configuration", "Take both from one place, as transformers saves them together.")
        }
        Problem::WeightsIncomplete => (
            "The weights are not whole",
            "Save the model again with all of its weights gathered, or get its files again from their source.",
        ),
        Problem::UnsupportedFile => {
            ("The weights file is of a kind that Linchpin does not read", "Use a checkpoint as transformers saves it, in f32, f16 or bf16.")
        }
        Problem::WeightsDamaged => ("The weights file is damaged", "Download it again; it may have been cut short."),
        Problem::ServerSilent => (
            "The server does not answer",
            "Check the connection and the address. A server elsewhere has to let other pages read its files (CORS). What is stored here \
             stays.",
        ),
        Problem::DownloadCut => (
            "The download was cut",
            "Check the connection and the server's address, then load the model again: what has arrived is kept where that is possible, \
             and the rest is fetched.",
        ),
        Problem::FileChanged => (
            "The file on the server has changed",
            "Load the model again from its beginning; if its revision is fixed, somebody has altered the file.",
        ),
        Problem::FileUnreadable => ("A file could not be read", "Check the connection or the disk, then load the model again."),
        Problem::NotInCache => (
            "The model is not on this machine, and the Hub could not be asked for it",
            "Check the connection, and whether HF_HUB_OFFLINE is set. Once a model is in the cache, no network is needed for it.",
        ),
        Problem::CacheNotWritable => (
            "The cache on this disk could not be written",
            "Make room for it, or set HF_HOME to a folder of yours, then load the model again.",
        ),
        Problem::OutputNotWritable => {
            ("The edited model could not be written", "Make room for it, or choose another place. Nothing half-done was left behind.")
        }
        Problem::SavedDiffers => {
            ("The written files are not what was to be written", "Check the disk, then save again. Nothing of it was left behind.")
        }
        Problem::StoreDamaged => {
            ("A model that this browser had stored is damaged", "Load the model again: the damaged parts are fetched again.")
        }
        Problem::StoreRefused => ("The browser refused to store or to read the file", "Close other tabs of this page, and try again."),
        Problem::MemoryTooSmall => (
            "This model is too large for the CPU path of a browser",
            "Choose a smaller model, use a browser with WebGPU, or run it with the command on a machine of your own.",
        ),
        Problem::NoGpu => ("There is no GPU to run on", "Run on the CPU, or use a browser with WebGPU."),
        Problem::SelfCheckFailed => {
            ("This device does not compute what the model should", "Run it on the CPU; if it fails there too, get the model's files again.")
        }
        Problem::GpuTooSmall => ("This GPU is too small for this model", "Choose a smaller model, or run it on the CPU."),
        Problem::DeviceFailed => (
            "The device failed, and nothing from this run is shown as a finding",
            "Restart the engine; what was computed before stays. If it happens again, run on the CPU.",
        ),
        Problem::NumbersOverflowed => {
            ("The numbers overflowed", "Make the edit smaller, or reset it; if the intact model does this too, run it on the CPU.")
        }
        Problem::MeanMissing => ("A channel's mean is missing", "Report this with the steps that led to it."),
        Problem::ResultNotHeld => (
            "The engine could not hand over a result",
            "What was computed before stays on the page. Try again with other values, or restart the engine.",
        ),
        Problem::EngineCrashed => ("The engine crashed", RESTART),
        Problem::EngineStopped => ("The engine stopped", RESTART),
        Problem::EngineNotCreated => ("The engine could not be started", RESTART),
        Problem::EngineNotStarted => ("The engine did not start", RESTART),
        Problem::EngineUnreachable => ("The engine could not be reached", RESTART),
        Problem::MessageDamaged => ("A message of the engine was damaged", RESTART),
        Problem::MessageUnknown => ("The engine sent a message that this page cannot read", RESTART),
        Problem::RequestUnknown => ("The engine did not understand the page", "Reload the page; it may be older than the engine."),
        Problem::OtherVersion => (
            "The page and its engine are of different versions",
            "Reload the page. If that does not help, clear the browser's cache for it.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use strum::VariantArray;

    use super::*;
    use crate::terms::Message;

    #[test]
    fn every_problem_is_told_in_words_of_its_own_with_a_next_step() {
        let told = Problem::VARIANTS.iter().map(|problem| words(*problem)).collect::<Vec<_>>();
        assert_eq!(told.iter().map(|(what, _)| what).collect::<HashSet<_>>().len(), Problem::VARIANTS.len());
        assert!(told.iter().all(|(what, next)| !what.ends_with('.') && next.ends_with('.')), "{told:?}");
    }

    #[test]
    fn reasons_are_the_errors_own_or_those_of_the_page() {
        assert_eq!(reason(&Failure::new(Problem::FileMissing, "there is no file a.json")), "there is no file a.json");
        let version = Message::new("version").with("page", 7_usize).with("engine", 6_usize);
        let other = Failure { cause: Some(version), ..Failure::new(Problem::OtherVersion, "") };
        assert!(reason(&other).starts_with("The page has version 7, the engine version 6"));
        assert_eq!(reason(&Failure::new(Problem::EngineStopped, "out of memory")), "out of memory");
        assert!(reason(&Failure::new(Problem::EngineStopped, "")).contains("could not be downloaded"));
        let ended = Failure { cause: Some(Message::new("ended")), ..Failure::new(Problem::EngineStopped, "") };
        assert!(reason(&ended).starts_with("Its worker ended without an error"));
    }
}
