//! The removals that a sweep measures, as data: page, command and charts share one plan.

use super::{Pick, Pruning, Ranking, Replacement, Selection};

/// The question that a sweep answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Channels are removed from the highest score on, and in groups: does the ranking find the important ones?
    Removal,
    /// Channels are removed from the lowest score on: which can be pruned?
    Pruning,
}

/// One line of a comparison: rules that differ only in the number of removed channels, and in the random draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepLine {
    Ranked(Ranking),
    Core,
    Halo,
    Matched,
}

/// Everything that one comparison measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub comparison: Comparison,
    /// The rankings; each is a line.
    pub rankings: Vec<Ranking>,
    /// Shares of a layer's channels that each ranking removes.
    pub shares: Vec<f64>,
    /// Sizes of the removed halos, as shares of the channels outside the core. Empty for a pruning.
    pub halos: Vec<f64>,
    /// Seeds of every rule that draws at random.
    pub seeds: Vec<u64>,
}

impl Comparison {
    /// Everything that the comparison measures, with the paper's core and over all layers, as the page requests it.
    pub fn prunings(self, replacement: Replacement) -> Vec<Pruning> {
        let selections = Plan::of(self).selections(&Selection::new(Pick::Core));
        selections.into_iter().map(|selection| Pruning { selection, replacement }).collect()
    }

    /// The line that a rule belongs to; `None` if it is not part of this comparison.
    pub fn line_of(self, selection: &Selection) -> Option<SweepLine> {
        match (self, selection.pick) {
            (Self::Pruning, Pick::Lowest { by, .. }) | (Self::Removal, Pick::Highest { by, .. }) => Some(SweepLine::Ranked(by)),
            (Self::Removal, Pick::Core) => Some(SweepLine::Core),
            (Self::Removal, Pick::Halo) => Some(SweepLine::Halo),
            (Self::Removal, Pick::Matched) => Some(SweepLine::Matched),
            _ => None,
        }
    }
}

impl Plan {
    /// Shares of each layer's channels that a removal takes, from the highest on.
    pub const SHARES: [f64; 7] = [0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
    /// Shares of each layer's channels that a pruning takes, from the lowest on.
    pub const SPARSITIES: [f64; 8] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
    pub const HALOS: [f64; 5] = [0.01, 0.02, 0.05, 0.1, 0.2];
    pub const SEEDS: [u64; 3] = [1, 2, 3];
    /// The rankings of a removal. A pruning compares all rankings.
    const REMOVAL: [Ranking; 4] = [Ranking::LossProxy, Ranking::ActivationPower, Ranking::Magnitude, Ranking::Random];

    pub fn of(comparison: Comparison) -> Self {
        let seeds = Self::SEEDS.to_vec();
        match comparison {
            Comparison::Removal => {
                let (shares, halos) = (Self::SHARES.to_vec(), Self::HALOS.to_vec());
                Self { comparison, rankings: Self::REMOVAL.to_vec(), shares, halos, seeds }
            }
            Comparison::Pruning => {
                let (shares, halos) = (Self::SPARSITIES.to_vec(), Vec::new());
                Self { comparison, rankings: Ranking::ALL.to_vec(), shares, halos, seeds }
            }
        }
    }

    pub fn lines(&self) -> Vec<SweepLine> {
        let mut lines = self.rankings.iter().copied().map(SweepLine::Ranked).collect::<Vec<_>>();
        if self.comparison == Comparison::Removal {
            lines.extend([SweepLine::Core, SweepLine::Halo, SweepLine::Matched]);
        }
        lines
    }

    /// Every rule, starting with the smallest of each line, so that the lines grow together. Core, support, layer and
    /// the halo used by rankings are those of `around`.
    pub fn selections(&self, around: &Selection) -> Vec<Selection> {
        let mut found = Vec::new();
        for at in 0..self.shares.len().max(self.halos.len()).max(1) {
            for selection in self.lines().into_iter().filter_map(|line| self.selection(line, at, around)) {
                let n = if selection.pick.is_drawn() { self.seeds.len() } else { self.seeds.len().min(1) };
                found.extend(self.seeds[..n].iter().map(|seed| Selection { seed: *seed, ..selection }));
            }
        }
        found
    }

    /// The same rules, ranking by ranking, so that each rule can reuse the surroundings found for the previous one.
    pub fn line_by_line(&self, around: &Selection) -> Vec<Selection> {
        let (mut found, lines) = (self.selections(around), self.lines());
        found.sort_by_key(|selection| {
            // A halo and its matched channels stay together.
            let line = self.comparison.line_of(selection).map(|line| if line == SweepLine::Matched { SweepLine::Halo } else { line });
            lines.iter().position(|known| Some(*known) == line)
        });
        found
    }

    /// The rule of a line's size number `at`; `None` beyond the last.
    fn selection(&self, line: SweepLine, at: usize, around: &Selection) -> Option<Selection> {
        let around = *around;
        Some(match line {
            SweepLine::Ranked(by) => {
                let share = *self.shares.get(at)?;
                let pick = match self.comparison {
                    Comparison::Removal => Pick::Highest { by, share },
                    Comparison::Pruning => Pick::Lowest { by, share },
                };
                Selection { pick, ..around }
            }
            SweepLine::Core if at == 0 => Selection { pick: Pick::Core, ..around },
            SweepLine::Core => return None,
            SweepLine::Halo => Selection { pick: Pick::Halo, eta: *self.halos.get(at)?, ..around },
            SweepLine::Matched => Selection { pick: Pick::Matched, eta: *self.halos.get(at)?, ..around },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_names_every_removal_once() {
        // Rankings and draws of each share; the core; five halos, each with three draws of matched channels.
        for (comparison, n) in [(Comparison::Removal, 7 * (3 + 3) + 1 + 5 + 5 * 3), (Comparison::Pruning, 8 * (8 + 3))] {
            let prunings = comparison.prunings(Replacement::Zero);
            assert_eq!(prunings.len(), n);
            for (i, pruning) in prunings.iter().enumerate() {
                assert!(!prunings[..i].contains(pruning), "{pruning:?}");
                assert!(comparison.line_of(&pruning.selection).is_some());
            }
            assert!(comparison.prunings(Replacement::Mean).iter().all(|pruning| !prunings.contains(pruning)));
        }
    }

    #[test]
    fn both_orders_hold_the_same_rules() {
        let around = Selection::new(Pick::Core);
        for comparison in [Comparison::Removal, Comparison::Pruning] {
            let plan = Plan::of(comparison);
            let (together, apart) = (plan.selections(&around), plan.line_by_line(&around));
            assert_eq!(together.len(), apart.len());
            assert!(together.iter().all(|selection| apart.contains(selection)));
            let n_shares = plan.shares.len();
            let line = |selection: &Selection| comparison.line_of(selection);
            assert!(together[..2].iter().map(line).eq(plan.lines().into_iter().take(2).map(Some)));
            assert!(apart[..n_shares].iter().all(|selection| line(selection) == Some(SweepLine::Ranked(Ranking::LossProxy))));
        }
        let halos = Plan::of(Comparison::Removal).line_by_line(&around);
        let picks = halos[halos.len() - 8..].iter().map(|selection| (selection.pick, selection.eta)).collect::<Vec<_>>();
        let of_one = |eta| [(Pick::Halo, eta), (Pick::Matched, eta), (Pick::Matched, eta), (Pick::Matched, eta)];
        assert_eq!(picks, [of_one(0.1), of_one(0.2)].concat());
    }
}
