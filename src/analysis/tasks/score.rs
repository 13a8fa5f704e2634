//! Computes accuracy from log-likelihoods; [`super`] defines both.

use super::TaskKind;

/// A model's score of one choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChoiceScore {
    /// Log-likelihood: the sum over the choice's tokens, nats.
    pub loglikelihood: f64,
    /// `true` if each of the choice's tokens was the likeliest.
    pub is_greedy: bool,
    pub n_tokens: usize,
    pub n_characters: usize,
}

/// A model's scores of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemScore {
    /// The line in the file, counted from 1.
    pub line: usize,
    pub gold: usize,
    pub choices: Vec<ChoiceScore>,
}

/// A model's scores of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScore {
    pub kind: TaskKind,
    pub items: Vec<ItemScore>,
    pub acc: f64,
    /// `None` for fewer than two items.
    pub acc_stderr: Option<f64>,
    /// `None` for tasks without a normalised accuracy ([`TaskKind::has_norm`]).
    pub acc_norm: Option<f64>,
    pub acc_norm_stderr: Option<f64>,
    /// Perplexity of [`TaskKind::Lambada`]; infinite if it overflows.
    pub perplexity: Option<f64>,
}

impl ItemScore {
    /// Returns the likeliest choice, the first in a tie; `None` if a log-likelihood is not finite.
    pub fn chosen(&self) -> Option<usize> {
        self.best(|choice| choice.loglikelihood)
    }

    /// Returns the likeliest choice by log-likelihood per character, as acc_norm counts it.
    pub fn chosen_by_length(&self) -> Option<usize> {
        self.best(|choice| choice.loglikelihood / choice.n_characters as f64)
    }

    fn best(&self, value: impl Fn(&ChoiceScore) -> f64) -> Option<usize> {
        if !self.choices.iter().all(|choice| choice.loglikelihood.is_finite()) {
            return None;
        }
        let values = self.choices.iter().map(value).enumerate();
        values.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(index, _)| index)
    }
}

impl TaskScore {
    pub fn of(kind: TaskKind, items: Vec<ItemScore>) -> Self {
        let is_lambada = kind == TaskKind::Lambada;
        let is_right = |item: &ItemScore| match is_lambada {
            true => item.choices[item.gold].is_greedy,
            false => item.chosen() == Some(item.gold),
        };
        let (acc, acc_stderr) = mean(&items, is_right);
        let norm = kind.has_norm().then(|| mean(&items, |item| item.chosen_by_length() == Some(item.gold)));
        let perplexity = is_lambada.then(|| {
            let sum = items.iter().map(|item| item.choices[item.gold].loglikelihood).sum::<f64>();
            (-sum / items.len() as f64).exp()
        });
        Self { kind, acc, acc_stderr, acc_norm: norm.map(|norm| norm.0), acc_norm_stderr: norm.and_then(|norm| norm.1), perplexity, items }
    }
}

/// Returns the share of right items, and its standard error.
fn mean(items: &[ItemScore], is_right: impl Fn(&ItemScore) -> bool) -> (f64, Option<f64>) {
    let (n, right) = (items.len() as f64, items.iter().filter(|item| is_right(item)).count() as f64);
    let mean = right / n;
    // The squared deviations of 1s and 0s from their mean sum up to n mean (1 - mean).
    (mean, (items.len() > 1).then(|| (mean * (1.0 - mean) / (n - 1.0)).sqrt()))
}

/// Mean accuracy over tasks, each counting once; `None` without tasks.
pub fn mean_acc(tasks: &[TaskScore]) -> Option<f64> {
    (!tasks.is_empty()).then(|| tasks.iter().map(|task| task.acc).sum::<f64>() / tasks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(gold: usize, choices: &[(f64, usize)]) -> ItemScore {
        let choice =
            |&(loglikelihood, n_characters): &(f64, usize)| ChoiceScore { loglikelihood, is_greedy: false, n_tokens: 1, n_characters };
        ItemScore { line: 1, gold, choices: choices.iter().map(choice).collect() }
    }

    #[test]
    fn accuracy_with_and_without_length() {
        let items = vec![
            // The longer choice is better per character.
            item(1, &[(-2.0, 2), (-3.0, 9)]),
            // In a tie, the first choice counts.
            item(0, &[(-4.0, 4), (-4.0, 4)]),
            item(1, &[(-4.0, 4), (-4.0, 4)]),
            item(0, &[(f64::NAN, 4), (-4.0, 4)]),
        ];
        let score = TaskScore::of(TaskKind::Piqa, items.clone());
        assert_eq!((score.acc, score.acc_norm, score.perplexity), (0.25, Some(0.5), None));
        // The sample standard deviations of 1, 0, 0, 0 and 1, 1, 0, 0 are 0.5 and 0.57735; √4 is 2.
        assert!((score.acc_stderr.unwrap() - 0.25).abs() < 1e-12 && (score.acc_norm_stderr.unwrap() - 0.288_675_134_6).abs() < 1e-9);
        let score = TaskScore::of(TaskKind::WinoGrande, items[..1].to_vec());
        assert_eq!((score.acc, score.acc_stderr, score.acc_norm, score.acc_norm_stderr), (0.0, None, None, None));
        assert_eq!(mean_acc(&[]), None);
    }

    #[test]
    fn last_word_counts_if_it_is_greedy() {
        let mut items = vec![item(0, &[(-1.0, 4)]), item(0, &[(-3.0, 4)])];
        items[0].choices[0].is_greedy = true;
        let score = TaskScore::of(TaskKind::Lambada, items);
        assert_eq!((score.acc, score.acc_norm), (0.5, None));
        assert!((score.perplexity.unwrap() - 2.0_f64.exp()).abs() < 1e-12);
    }
}
