//! The kinds of experiments and their settings.

use crate::terms::{ExperimentKind, SettingError, SettingId};

/// The kind's title on the page.
pub fn title(kind: ExperimentKind) -> &'static str {
    match kind {
        ExperimentKind::Importance => "Importance",
        ExperimentKind::Propagation => "Propagation",
        ExperimentKind::Scaling => "Scaling",
        ExperimentKind::TokenShift => "Token shift",
        ExperimentKind::ActivationQuantisation => "8-bit activations",
        ExperimentKind::WeightQuantisation => "Rounded weights",
        ExperimentKind::WeightsOnly => "Weights alone",
        ExperimentKind::Sinks => "Attention sinks",
    }
}

/// The question that the kind answers, and its duration: on the page's model, and on one of a billion weights.
pub fn asks(kind: ExperimentKind) -> &'static str {
    match kind {
        ExperimentKind::Importance => {
            "What does removing the super weights cost, compared with the largest other weights, and does restoring the super activation \
             help? A minute; some minutes."
        }
        ExperimentKind::Propagation => "How far does the super activation travel through the layers? A second; seconds.",
        ExperimentKind::Scaling => {
            "At which scale of the super weights does the model collapse, and does a larger scale help? A minute; some minutes."
        }
        ExperimentKind::TokenShift => "How do the next token's probabilities change: do stopwords take over? A minute; some minutes.",
        ExperimentKind::ActivationQuantisation => {
            "What does rounding activations cost, with the super activation held out, and with SmoothQuant? Half a minute; some minutes."
        }
        ExperimentKind::WeightQuantisation => {
            "How large may blocks with one scale be, with the super weights held out? Minutes; half an hour."
        }
        ExperimentKind::WeightsOnly => "Which candidates do the weights alone show, without a forward pass? At once; a second.",
        ExperimentKind::Sinks => "Do massive activations and attention sinks vanish with the super weights? A second; seconds.",
    }
}

/// The table or figure of the paper.
pub fn source(kind: ExperimentKind) -> &'static str {
    match kind {
        ExperimentKind::Importance => "Table 1",
        ExperimentKind::Propagation => "Figure 4",
        ExperimentKind::Scaling => "Figures 6 and 8",
        ExperimentKind::TokenShift => "Figures 5 and 11",
        ExperimentKind::ActivationQuantisation => "Table 3",
        ExperimentKind::WeightQuantisation => "Figure 7",
        ExperimentKind::WeightsOnly => "not in the paper",
        ExperimentKind::Sinks => "appendix A.5",
    }
}

/// The help of the kind's subcommand.
pub fn summary(kind: ExperimentKind) -> &'static str {
    match kind {
        ExperimentKind::Importance => {
            "Measure the cost of removing the super weights, compared with removing the largest other weights, and with restoring the \
             super activation (Table 1 of the super-weight paper)"
        }
        ExperimentKind::Propagation => "Trace the super activation through every layer's residual stream, token by token (Figure 4)",
        ExperimentKind::Scaling => {
            "Measure loss and accuracy against the super weights' scale, and find where the model collapses (Figures 6 and 8)"
        }
        ExperimentKind::TokenShift => "Measure how the next token's probabilities shift over many prompts (Figures 5 and 11)",
        ExperimentKind::ActivationQuantisation => {
            "Round weights and activations to 8 bits: naive, with the super activation held out, SmoothQuant (Table 3)"
        }
        ExperimentKind::WeightQuantisation => {
            "Round weights to 8, 4 and 3 bits in blocks, with and without the super weights held out (Figure 7)"
        }
        ExperimentKind::WeightsOnly => "Find candidates from the weights alone, and compare them with a scan's",
        ExperimentKind::Sinks => "Measure massive activations and attention sinks, with and without the super weights",
    }
}

/// The label of a setting's field on the page.
pub fn setting_label(id: SettingId) -> &'static str {
    match id {
        SettingId::Factors => "Factors of the super weights",
        SettingId::Bits => "Bits",
        SettingId::BlockSizes => "Scalars of a block (0: the matrix)",
        SettingId::Clips => "Clipped at z",
        SettingId::Alpha => "SmoothQuant's α",
        SettingId::NCalibration => "Calibration sequences",
        SettingId::NPrompts => "Prompts",
        SettingId::Block => "Tokens of a block",
        SettingId::NBlocks => "Blocks (empty: all)",
        SettingId::Bos => "BOS before each block (0 or 1)",
        SettingId::Limit => "Items of a task (empty: all)",
        SettingId::ItemSeed => "Seed of the items (empty: the first)",
        SettingId::Seed => "Seed of the controls",
    }
}

/// The help of the command's option for a setting.
pub fn option_help(id: SettingId) -> &'static str {
    match id {
        SettingId::Factors => "Factors that the super weights are multiplied by, separated by commas",
        SettingId::Bits => "Bits that weights, or weights and activations, are rounded to; several are separated by commas",
        SettingId::BlockSizes => {
            "Numbers of consecutive scalars that share a scale when weights are rounded, separated by commas; 0 is the whole matrix"
        }
        SettingId::Clips => "Clipping thresholds z, in standard deviations above the weights' mean magnitude, separated by commas",
        SettingId::Alpha => "Exponent of SmoothQuant",
        SettingId::NCalibration => "Number of sequences of the bundled calibration text",
        SettingId::NPrompts => "Number of prompts",
        SettingId::Block => {
            "Tokens of each block that the text (the bundled passages, or --text) is cut into, or the model's context if that is shorter"
        }
        SettingId::NBlocks => "Number of blocks to measure, starting with the first; all by default",
        SettingId::Bos => {
            "1 puts the tokenizer's special tokens (BOS) before each block, 0 does not. The default is the paper's 0 (only \
             one BOS before the whole text), but 1 for the bundled models, which never saw a text without a BOS"
        }
        SettingId::Limit => "Number of items of each task to measure: the first ones, or a draw by --item-seed",
        SettingId::ItemSeed => "Seed that draws the items of --limit; by default, the first items are used",
        SettingId::Seed => "Seed of the random control and, in a report, of the candidates' controls",
    }
}

/// The page's sentence for an invalid setting.
pub fn setting_error(error: &SettingError) -> String {
    format!("{}: {}.", setting_label(error.id), error.problem)
}
