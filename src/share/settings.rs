//! The numbers that set up an experiment, each with its bounds: the fields on the page, and the values that a link may
//! hold.

use super::shortest;
use crate::terms::{Experiment, ExperimentKind, MAX_INDEX, MAX_SEED, MAX_VALUES, SCALES};

/// Items, blocks, prompts: more than anybody waits for.
const MANY: f64 = 100_000.0;

/// One setting: a number, or several.
pub struct Setting {
    /// Name of the field of [`Experiment`].
    pub name: &'static str,
    pub label: &'static str,
    low: f64,
    high: f64,
    is_whole: bool,
    most: usize,
    pub get: fn(&Experiment) -> Vec<f64>,
    set: fn(&mut Experiment, &[f64]),
}

fn one(values: &[f64]) -> Option<usize> {
    values.first().map(|value| *value as usize)
}

fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(shortest).collect()
}

fn some(value: Option<usize>) -> Vec<f64> {
    value.map(|value| value as f64).into_iter().collect()
}

const WHOLE: Setting = Setting { name: "", label: "", low: 1.0, high: MANY, is_whole: true, most: 1, get: |_| Vec::new(), set: |_, _| () };
const REAL: Setting = Setting { is_whole: false, most: MAX_VALUES, ..WHOLE };

/// All settings, in the order of the page.
pub const SETTINGS: [Setting; 13] = [
    Setting {
        name: "factors",
        label: "Factors of the super weights",
        low: *SCALES.start() as f64,
        high: *SCALES.end() as f64,
        get: |of| f64s(&of.factors),
        set: |of, values| of.factors = f32s(values),
        ..REAL
    },
    Setting {
        name: "bits",
        label: "Bits",
        low: 2.0,
        high: 16.0,
        most: MAX_VALUES,
        get: |of| of.bits.iter().map(|bits| f64::from(*bits)).collect(),
        set: |of, values| of.bits = values.iter().map(|value| *value as u32).collect(),
        ..WHOLE
    },
    Setting {
        name: "block_sizes",
        label: "Scalars of a block (0: the matrix)",
        low: 0.0,
        high: 2_147_483_647.0,
        most: MAX_VALUES,
        get: |of| of.block_sizes.iter().map(|size| *size as f64).collect(),
        set: |of, values| of.block_sizes = values.iter().map(|value| *value as usize).collect(),
        ..WHOLE
    },
    Setting {
        name: "clips",
        label: "Clipped at z",
        low: 0.01,
        high: 1000.0,
        get: |of| f64s(&of.clips),
        set: |of, values| of.clips = f32s(values),
        ..REAL
    },
    Setting {
        name: "alpha",
        label: "SmoothQuant's α",
        low: 0.0,
        high: 1.0,
        most: 1,
        get: |of| f64s(of.alpha.as_slice()),
        set: |of, values| of.alpha = f32s(values).first().copied(),
        ..REAL
    },
    Setting {
        name: "n_calibration",
        label: "Calibration sequences",
        get: |of| some(of.n_calibration),
        set: |of, values| of.n_calibration = one(values),
        ..WHOLE
    },
    Setting { name: "n_prompts", label: "Prompts", get: |of| some(of.n_prompts), set: |of, values| of.n_prompts = one(values), ..WHOLE },
    Setting {
        name: "block",
        label: "Tokens of a block",
        low: 2.0,
        high: MAX_INDEX as f64,
        get: |of| some(of.block),
        set: |of, values| of.block = one(values),
        ..WHOLE
    },
    Setting {
        name: "n_blocks",
        label: "Blocks (empty: all)",
        get: |of| some(of.n_blocks),
        set: |of, values| of.n_blocks = one(values),
        ..WHOLE
    },
    Setting {
        name: "bos",
        label: "BOS before each block (0 or 1)",
        low: 0.0,
        high: 1.0,
        get: |of| vec![f64::from(u8::from(of.bos))],
        set: |of, values| of.bos = values == [1.0],
        ..WHOLE
    },
    Setting {
        name: "limit",
        label: "Items of a task (empty: all)",
        get: |of| some(of.limit),
        set: |of, values| of.limit = one(values),
        ..WHOLE
    },
    Setting {
        name: "item_seed",
        label: "Seed of the items (empty: the first)",
        low: 0.0,
        high: MAX_SEED as f64,
        get: |of| of.item_seed.map(|seed| seed as f64).into_iter().collect(),
        set: |of, values| of.item_seed = values.first().map(|seed| *seed as u64),
        ..WHOLE
    },
    Setting {
        name: "seed",
        label: "Seed of the controls",
        low: 0.0,
        high: MAX_SEED as f64,
        get: |of| vec![of.seed as f64],
        set: |of, values| of.seed = values.first().map_or(1, |seed| *seed as u64),
        ..WHOLE
    },
];

impl Setting {
    /// Returns `true` if an experiment of this kind reads the setting.
    pub fn is_of(&self, kind: ExperimentKind) -> bool {
        match self.name {
            "n_blocks" => kind.reads_text(),
            "limit" | "item_seed" => kind.reads_tasks() && kind != ExperimentKind::TokenShift,
            "seed" => kind == ExperimentKind::Importance,
            "bos" => kind.reads_bos(),
            _ => !self.is_optional(kind),
        }
    }

    fn is_optional(&self, kind: ExperimentKind) -> bool {
        (self.get)(&Experiment::of(kind, Vec::new())).is_empty()
    }

    /// The setting's values, separated by commas.
    pub fn text(&self, of: &Experiment) -> String {
        (self.get)(of).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Sets the values that somebody typed, or says what is wrong with them.
    pub fn take(&self, of: &mut Experiment, typed: &str) -> Result<(), String> {
        let parts = || typed.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
        let mut values = Vec::new();
        for part in parts() {
            values
                .push(part.parse().map_err(|_| format!("{}: “{}” is no number.", self.label, part.chars().take(20).collect::<String>()))?);
        }
        if values.is_empty() && !self.is_optional(of.kind) {
            return Err(format!("{}: a number is needed.", self.label));
        }
        self.check(&values)?;
        (self.set)(of, &values);
        Ok(())
    }

    pub(super) fn check(&self, values: &[f64]) -> Result<(), String> {
        if values.len() > self.most {
            return Err(format!("{}: {} values are too many, {} at most.", self.label, values.len(), self.most));
        }
        // Values other than whole numbers are compared in f32, as they are kept: a bound like 0.01 then meets itself.
        let is_within = |value: f64| match self.is_whole {
            true => (self.low..=self.high).contains(&value) && value.fract() == 0.0,
            false => (self.low as f32..=self.high as f32).contains(&(value as f32)),
        };
        match values.iter().find(|value| !is_within(**value)) {
            Some(value) => {
                let number = if self.is_whole { "whole number" } else { "number" };
                Err(format!("{}: {value} is no {number} from {} to {}.", self.label, self.low, self.high))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str) -> &'static Setting {
        const ALL: &[Setting] = &SETTINGS;
        ALL.iter().find(|setting| setting.name == name).unwrap()
    }

    #[test]
    fn each_kind_has_what_it_reads() {
        let names = |kind| SETTINGS.iter().filter(|setting| setting.is_of(kind)).map(|setting| setting.name).collect::<Vec<_>>();
        assert_eq!(names(ExperimentKind::Scaling), ["factors", "block", "n_blocks", "bos", "limit", "item_seed"]);
        assert_eq!(names(ExperimentKind::TokenShift), ["n_prompts"]);
        assert_eq!(names(ExperimentKind::ActivationQuantisation), ["bits", "alpha", "n_calibration", "block", "n_blocks", "bos"]);
        assert_eq!(names(ExperimentKind::WeightsOnly), [""; 0]);
    }

    #[test]
    fn what_is_typed_is_taken_or_refused_in_words() {
        let mut scaling = Experiment::of(ExperimentKind::Scaling, Vec::new());
        assert_eq!(setting("factors").take(&mut scaling, " 0, 0.1,2.5 "), Ok(()));
        assert_eq!((setting("factors").text(&scaling).as_str(), &scaling.factors[..]), ("0, 0.1, 2.5", &[0.0, 0.1, 2.5][..]));
        assert_eq!(setting("n_blocks").take(&mut scaling, "4"), Ok(()));
        assert_eq!(setting("n_blocks").take(&mut scaling, ""), Ok(()));
        assert_eq!(scaling.n_blocks, None);
        let mut refused = |name: &str, typed: &str| setting(name).take(&mut scaling, typed).unwrap_err();
        assert_eq!(refused("factors", "1, x"), "Factors of the super weights: “x” is no number.");
        assert_eq!(refused("factors", "4"), "Factors of the super weights: 4 is no number from -3 to 3.");
        assert!(refused("factors", "").ends_with("a number is needed."));
        assert!(refused("factors", "NaN").contains("no number from"));
        assert!(refused("factors", &"1,".repeat(65)).ends_with("65 values are too many, 64 at most."));
        assert!(refused("block", "100.5").contains("no whole number"));
        assert!(refused("block", "2, 3").contains("too many"));
        assert_eq!(scaling.factors, [0.0, 0.1, 2.5]);
    }

    #[test]
    fn the_papers_settings_are_within_bounds() {
        for kind in ExperimentKind::ALL {
            let mut experiment = Experiment::of(kind, Vec::new());
            for setting in SETTINGS.iter().filter(|setting| setting.is_of(kind)) {
                let text = setting.text(&experiment);
                assert_eq!(setting.take(&mut experiment, &text), Ok(()));
            }
            assert_eq!(experiment, Experiment::of(kind, Vec::new()));
        }
    }
}
