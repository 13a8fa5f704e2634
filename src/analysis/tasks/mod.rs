//! Zero-shot tasks, scored as in lm-evaluation-harness.
//!
//! The prompts and scores were compared with that project's version 0.4.13 (its `tasks/*`, `api/model.py`,
//! `api/task.py`, `models/huggingface.py`), without few-shot examples, descriptions or chat templates:
//!
//! | task | context | choices, each after one space | scores |
//! |---|---|---|---|
//! | `lambada_openai` | the passage without its last word | that word | acc (greedy), perplexity |
//! | `arc_easy`, `arc_challenge`, `piqa` | `Question: {question}\nAnswer:` | the answers | acc, acc_norm |
//! | `hellaswag` | `{activity}: {ctx_a} {ctx_b, capitalised}`, cleaned | the endings, cleaned | acc, acc_norm |
//! | `winogrande` | the sentence up to the blank, with each option in it | the rest of it, once for each context | acc |
//! | `boolq` | `{passage}\nQuestion: {question}?\nAnswer:` | no, yes | acc |
//! | `openbookqa` | the stem | the answers | acc, acc_norm |
//! | `sciq` | `{support}\nQuestion: {question}\nAnswer:` | the distractors, and the answer last | acc, acc_norm |
//! | `copa` | the premise without its full stop, and `because` or `therefore` | after two spaces, beginning with a small letter | acc |
//! | `siqa` | `Q: {context} {question}\nA:` | the answers | acc |
//! | `winograd_wsc` | as `winogrande` | as `winogrande` | acc |
//!
//! Cleaning replaces ` [title]` by `. `, removes text in brackets, and makes two spaces one.
//!
//! **Rows.** Each line of a file is a row in the data set's own form, or in one of llm-foundry's forms: `query`,
//! `choices`, `gold`; `context_options`, `continuation`, `gold`; `context`, `continuation`. The prompts above are
//! rebuilt from those forms, but without the parts that llm-foundry dropped: the titles before `BoolQ`'s passages,
//! spaces around PIQA's answers, one of Social IQa's three answers (there the choices are letters), and Winograd's
//! second space before the continuation, which the harness's `wsc273` has. Figures from those forms differ from the
//! harness's on the full data.
//!
//! **Tokens.** Spaces at the end of a context move to the continuation. The context is encoded alone, and together
//! with the continuation, each time with the special tokens that the tokenizer adds (a BOS, if the model has one).
//! The continuation's tokens are the joint tokens after the first n, where n is the number of the context's tokens. A
//! sequence longer than the model's context plus one token is cut from the left.
//!
//! **Scores.** A choice's log-likelihood is the sum over its tokens. acc: the right choice has the largest (in a tie,
//! the first counts). acc_norm: the right choice has the largest after division by the choice's length in characters
//! (code points), without the space before it. lambada's acc: greedy decoding would write the word; its perplexity is
//! `exp(-mean)` over items of the log-likelihood, not over tokens. Standard errors are `s / √n`, with s the sample's
//! standard deviation.

mod encode;
mod measure;
mod rows;
mod score;

use crate::analysis::AnalysisError;
use crate::terms::{TaskFile, text_digest};

pub use encode::{EncodedChoice, EncodedItem, EncodedTask};
pub use measure::measure;
pub use score::{ChoiceScore, ItemScore, TaskScore, mean_acc};

/// Name of the row with the mean over tasks, as in the paper's Table 1.
pub const AVERAGE: &str = "AVG";

/// A task, which decides its prompts and its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskKind {
    Lambada,
    ArcEasy,
    ArcChallenge,
    HellaSwag,
    Piqa,
    WinoGrande,
    BoolQ,
    OpenBookQa,
    SciQ,
    Copa,
    Siqa,
    WinogradWsc,
}

impl TaskKind {
    pub const ALL: [Self; 12] = [
        Self::Lambada,
        Self::ArcEasy,
        Self::ArcChallenge,
        Self::HellaSwag,
        Self::Piqa,
        Self::WinoGrande,
        Self::BoolQ,
        Self::OpenBookQa,
        Self::SciQ,
        Self::Copa,
        Self::Siqa,
        Self::WinogradWsc,
    ];

    /// The task's name in lm-evaluation-harness; the last two have none there in this form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lambada => "lambada_openai",
            Self::ArcEasy => "arc_easy",
            Self::ArcChallenge => "arc_challenge",
            Self::HellaSwag => "hellaswag",
            Self::Piqa => "piqa",
            Self::WinoGrande => "winogrande",
            Self::BoolQ => "boolq",
            Self::OpenBookQa => "openbookqa",
            Self::SciQ => "sciq",
            Self::Copa => "copa",
            Self::Siqa => "siqa",
            Self::WinogradWsc => "winograd_wsc",
        }
    }

    /// Finds a task by its name here or in llm-foundry.
    ///
    /// # Errors
    ///
    /// [`AnalysisError::UnknownTask`].
    pub fn of_name(name: &str) -> Result<Self, AnalysisError> {
        let name = if name == "openbook_qa" { "openbookqa" } else { name };
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            AnalysisError::UnknownTask { name: name.into(), known }
        })
    }

    /// `true` if the harness reports acc_norm for this task.
    pub fn has_norm(self) -> bool {
        matches!(self, Self::ArcEasy | Self::ArcChallenge | Self::HellaSwag | Self::Piqa | Self::OpenBookQa | Self::SciQ)
    }
}

/// A task's items, in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub kind: TaskKind,
    /// The [`text_digest`] of the file.
    pub digest: String,
    pub items: Vec<Item>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The line in the file, counted from 1.
    pub line: usize,
    /// Two or more choices; a single one for [`TaskKind::Lambada`].
    pub choices: Vec<Choice>,
    /// Index of the right choice.
    pub gold: usize,
}

/// One answer and the context before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub context: String,
    /// The answer with the space before it.
    pub continuation: String,
    /// The length that acc_norm divides by: code points of the answer itself.
    pub n_characters: usize,
}

impl Task {
    /// Reads a file, skipping empty lines.
    ///
    /// # Errors
    ///
    /// An unknown name, a file without rows, or the first line that is not a row of this task.
    pub fn of(file: &TaskFile) -> Result<Self, AnalysisError> {
        let kind = TaskKind::of_name(&file.name)?;
        let lines = file.jsonl.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let item = |(index, line): (usize, &str)| {
            let broken = |why| AnalysisError::TaskLine { task: kind.name(), line: index + 1, why };
            let (choices, gold) = rows::read(kind, line).map_err(broken)?;
            Ok(Item { line: index + 1, choices, gold })
        };
        let items = lines.map(item).collect::<Result<Vec<_>, AnalysisError>>()?;
        if items.is_empty() {
            return Err(AnalysisError::EmptyTask { task: kind.name() });
        }
        Ok(Self { kind, digest: text_digest(&file.jsonl), items })
    }
}
