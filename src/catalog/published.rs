//! Published findings on single models, as data. Nothing here was measured by this project: a coordinate from a table
//! is a candidate until the engine has confirmed it against controls.

use crate::terms::EditTarget;

/// A published finding on one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fact {
    /// The tested edits; empty if no candidate was found.
    pub at: &'static [EditTarget],
    pub kind: Kind,
    /// The finding in one or two sentences for the reader, with its figures.
    pub known: &'static str,
    /// The source: an arXiv identifier, or a repository.
    pub source: &'static str,
    /// `true` if sources contradict each other about the finding.
    pub is_disputed: bool,
}

/// The outcome of a finding, according to its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Zeroing the scalar alone broke the model.
    Alone,
    /// Zeroing all of the targets together broke the model.
    Jointly,
    /// Zeroing the whole output row broke the model; no scalar is published.
    Row,
    /// The scalar is in a table of super weights, but no source has reproduced it alone.
    Listed,
    /// A candidate whose removal did next to nothing.
    Inert,
    /// A search found no candidate.
    Absent,
}

impl Kind {
    /// The finding in words, to follow a coordinate.
    pub fn words(self) -> &'static str {
        match self {
            Self::Alone => "published as critical: one number",
            Self::Jointly => "published as critical together with its companions",
            Self::Row => "published as critical: a whole output row",
            Self::Listed => "listed as a super weight, not reproduced alone",
            Self::Inert => "a candidate found inert",
            Self::Absent => "searched for, none found",
        }
    }
}

// The repository arctos is one person's unreviewed notes, and calls its own runs of several scalars together, and of
// Pythia, unverified; the census is its authors' own.
const BOTH: &str = "arXiv:2411.07191, Table 2; github.com/lea19019/arctos, unreviewed notes";
const BOTH_AND_CENSUS: &str = "arXiv:2411.07191, Table 2; github.com/lea19019/arctos, unreviewed notes; \
     github.com/Georgakopoulos-Soares-lab/superweights, audit/census_master.csv and README";
const BOTH_AND_CODE: &str =
    "arXiv:2411.07191, Table 2; github.com/mengxiayu/LLMSuperWeight, figures.ipynb; github.com/lea19019/arctos, unreviewed notes";
const CENSUS: &str = "github.com/Georgakopoulos-Soares-lab/superweights, audit/census_master.csv";
const SWEEP: &str =
    "github.com/Georgakopoulos-Soares-lab/superweights, README, retractions 8 to 10, and results/supplementary/S8_two_critical_rows.tsv";
const ARCTOS: &str = "github.com/lea19019/arctos, unreviewed notes";

const fn scalar(layer: usize, row: usize, col: usize) -> EditTarget {
    EditTarget::scalar(layer, row, col)
}

const fn row(layer: usize, row: usize) -> EditTarget {
    EditTarget::row(layer, row)
}

const fn fact(at: &'static [EditTarget], kind: Kind, known: &'static str, source: &'static str) -> Fact {
    Fact { at, kind, known, source, is_disputed: false }
}

const fn disputed(at: &'static [EditTarget], kind: Kind, known: &'static str, source: &'static str) -> Fact {
    Fact { at, kind, known, source, is_disputed: true }
}

pub const SMOLLM2_135M: &[Fact] = &[fact(
    &[row(11, 507)],
    Kind::Row,
    "Zeroing the row raised the loss from 3.30 to 13.64 nats, halving it to 3.42 (100 units of WikiText). By its weights alone, one \
     singular value holds 0.92 of the row's quadratic form; the responsible scalar is not published.",
    CENSUS,
)];

pub const SMOLLM2_360M: &[Fact] = &[fact(
    &[row(3, 87)],
    Kind::Row,
    "Zeroing the row raised the loss from 2.99 to 4.76 nats, halving it to 3.06 (100 units of WikiText). The responsible scalar \
     is not published.",
    CENSUS,
)];

pub const SMOLLM2_1_7B: &[Fact] = &[
    fact(
        &[scalar(1, 749, 4987)],
        Kind::Alone,
        "In one notebook zeroing it took the perplexity on WikiText-2 from 6.93 to 9e7. Row 749 of the census is of layer 7.",
        "github.com/aerubanov/SmolLMSuperWeight, SmolLM-super-weight.ipynb",
    ),
    fact(
        &[row(7, 227)],
        Kind::Row,
        "Zeroing the row raised the loss from 2.61 to 20.9 nats, halving it to 2.72 (100 units of WikiText).",
        CENSUS,
    ),
    fact(
        &[row(7, 161)],
        Kind::Row,
        "Zeroing the row alone raised the loss from 2.61 to 10.12 nats (+287 %; 100 units of WikiText), but with row 749 zeroed, too, only \
         to 2.67 (+2.07 %). It is fourth of the layer by ratio of activations and costs 130 times as much as row 749, the second: the \
         census withdrew its claim that the ratio measures damage.",
        SWEEP,
    ),
    fact(
        &[row(7, 749)],
        Kind::Inert,
        "Zeroing the row alone raised the loss from 2.61 to 2.67 nats (+2.2 %; 100 units of WikiText). With row 161 zeroed, too, it masks \
         nearly all of that row's damage.",
        SWEEP,
    ),
];

pub const QWEN2_5_0_5B: &[Fact] = &[fact(
    &[row(21, 62)],
    Kind::Inert,
    "By its weights alone, one singular value holds 0.998 of the row's quadratic form; zeroing the row raised the loss by 0.56 % \
     (100 units of WikiText). Early layers are untested.",
    CENSUS,
)];

pub const GPT2: &[Fact] = &[fact(
    &[scalar(2, 447, 666)],
    Kind::Inert,
    "It writes to the residual channel of a massive activation, but zeroing it only took the perplexity on WikiText-2 from 29.46 to \
     29.48 in a log, from 25.987 to 25.985 in the README. At bluorion, zeroing the activation itself took it from 30.22 to 30.21.",
    "github.com/rinkaSA/sparse-gpt-superweights, super_weights; github.com/bluorion-com/refine_massive_activations",
)];

pub const PYTHIA_410M: &[Fact] = &[fact(
    &[],
    Kind::Absent,
    "Its massive activations (residual channels 966 of layer 5, 357 and 130 of layer 6) are spread over many neurons: zeroing the weight \
     that writes most of channel 357, 11 %, left the perplexity on WikiText-2 at 16.7. Zeroing the activations took it to 49.7, \
     both in a run that arctos calls unverified.",
    ARCTOS,
)];

pub const OLMO_1B_0724: &[Fact] = &[
    fact(
        &[scalar(1, 1764, 1710)],
        Kind::Alone,
        "In arctos zeroing it took the perplexity on WikiText-2 from 10.83 to 39,699, and the text to \"We. We. We.\"; with the mean of its \
         contribution put back, the perplexity is as before.",
        BOTH,
    ),
    disputed(
        &[scalar(1, 1764, 8041)],
        Kind::Inert,
        "It is in the table, but arctos finds 0.0018 there, and zeroing it left the perplexity on WikiText-2 at 10.83; the authors' code \
         names layer 2.",
        BOTH,
    ),
    disputed(
        &[scalar(2, 1764, 8041)],
        Kind::Inert,
        "The authors' code puts the table's second entry here. In arctos it is the largest weight of its matrix; zeroing it took the \
         perplexity on WikiText-2 from 10.83 to 10.89.",
        "github.com/mengxiayu/LLMSuperWeight, analyze.py; github.com/lea19019/arctos, unreviewed notes",
    ),
];

pub const LLAMA_3_2_1B: &[Fact] = &[fact(
    &[scalar(1, 400, 1417), scalar(1, 698, 1417), scalar(1, 1159, 1417), scalar(1, 2029, 1417)],
    Kind::Listed,
    "According to the table, as quoted in arctos, one channel writes all four massive activations; no removal of the weights is published. \
     At bluorion, zeroing the activations took the perplexity on WikiText from 9.07 to 7365, setting them to their means to 9.09.",
    "arXiv:2507.23279, Table 8; github.com/lea19019/arctos, unreviewed notes; github.com/bluorion-com/refine_massive_activations",
)];

pub const LLAMA_7B: &[Fact] = &[fact(
    &[scalar(2, 3968, 7003)],
    Kind::Alone,
    "In the paper zeroing it took the perplexity on WikiText-2 from 5.67 to 1211, the 7,000 largest other weights together to 6.08; in \
     arctos it went from 6.12 to 1108. In the census zeroing its whole row raised the loss from 2.25 to 9.00 nats (100 units of WikiText).",
    "arXiv:2411.07191, Tables 1 and 2; github.com/lea19019/arctos, unreviewed notes; \
     github.com/Georgakopoulos-Soares-lab/superweights, audit/census_master.csv",
)];

pub const LLAMA_13B: &[Fact] = &[disputed(
    &[scalar(2, 2231, 2278), scalar(2, 2231, 6939)],
    Kind::Jointly,
    "Both write the same residual channel. Zeroed together they took the mean zero-shot accuracy from 72.4 to 29.6 % in the authors' \
     notebook; in arctos each alone multiplied the perplexity on WikiText-2 by 1.15 and 1.02, and both with a third, inert scalar by 178, \
     in a run that it calls unverified.",
    BOTH_AND_CODE,
)];

pub const LLAMA_30B: &[Fact] = &[
    fact(
        &[scalar(3, 5633, 12817)],
        Kind::Alone,
        "In arctos zeroing it alone multiplied the perplexity on WikiText-2 by 16. Zeroed with its two companions it took the mean \
         zero-shot accuracy from 75.3 to 31.6 % in the authors' notebook.",
        BOTH_AND_CODE,
    ),
    disputed(
        &[scalar(3, 5633, 17439), scalar(10, 5633, 14386)],
        Kind::Listed,
        "Companions of the first, in the same residual channel. In arctos zeroing each alone multiplied the perplexity on WikiText-2 by \
         1.001, and all three by 200, in a run that it calls unverified.",
        BOTH,
    ),
];

pub const LLAMA_2_7B: &[Fact] = &[disputed(
    &[scalar(1, 2533, 7890)],
    Kind::Listed,
    "Its row is the residual channel of a known massive activation; in arctos zeroing it alone multiplied the perplexity on WikiText-2 by \
     1.55. With row 1415 of the same column, which alone multiplied it by 1.04, the loss was not a number (31 of 32 windows, in f16), \
     in a run that arctos calls unverified.",
    BOTH,
)];

pub const LLAMA_2_13B: &[Fact] = &[disputed(
    &[scalar(3, 4743, 7678)],
    Kind::Listed,
    "The table's only entry; in arctos zeroing it multiplied the perplexity on WikiText-2 by 1.09. With row 2100 of the same column, which \
     alone multiplied it by 1.01, it was multiplied by 129, in a run that arctos calls unverified.",
    BOTH,
)];

pub const MISTRAL_7B: &[Fact] = &[fact(
    &[scalar(1, 2070, 7310)],
    Kind::Alone,
    "In arctos zeroing it multiplied the perplexity on WikiText-2 by 1430, and by 1.5 with the mean of its contribution put back. In the \
     census zeroing its whole row raised the loss from 2.21 to 8.55 nats, halving it to 8.86 (100 units of WikiText); the paper has the \
     same coordinate for Instruct-v0.1.",
    BOTH_AND_CENSUS,
)];

pub const OLMO_7B_0724: &[Fact] = &[
    fact(
        &[scalar(1, 269, 7467)],
        Kind::Alone,
        "In arctos zeroing it alone multiplied the perplexity on WikiText-2 by 79. In the census zeroing its whole row raised the loss from \
         2.50 to 5.28 nats (100 units of WikiText); row 269 of layer 2, with a higher ratio of activations, costs one 47th of that.",
        BOTH_AND_CENSUS,
    ),
    disputed(
        &[scalar(2, 269, 8275), scalar(7, 269, 453), scalar(24, 269, 2300)],
        Kind::Listed,
        "Companions of the first, in the same residual channel; in arctos, zeroing each alone multiplied the perplexity on WikiText-2 by \
         1.34, 2.69 and 1.02.",
        BOTH,
    ),
];

pub const PHI_3_MINI_4K: &[Fact] = &[disputed(
    &[scalar(2, 525, 808), scalar(2, 1693, 808), scalar(2, 1113, 808), scalar(4, 525, 2723), scalar(4, 1113, 2723), scalar(4, 1693, 2723)],
    Kind::Jointly,
    "Two channels, three rows: the table calls each of the six a super weight. In arctos, zeroing each alone multiplied the perplexity on \
     WikiText-2 by 1.00 to 1.02, and zeroing all by 671, in a run that it calls unverified, and 374 in arXiv:2607.08733, which it quotes.",
    BOTH,
)];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::hub;
    use crate::terms::{Sizes, WeightCoord};

    #[test]
    fn every_target_lies_inside_its_model() {
        for model in hub::all() {
            let shape = &model.shape;
            let [hidden_size, intermediate_size, num_hidden_layers] =
                [shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers].map(|n| n as usize);
            let sizes =
                Sizes { num_hidden_layers, hidden_size, intermediate_size: intermediate_size.into(), num_experts: None, ..Sizes::LARGEST };
            for target in model.facts.iter().flat_map(|fact| fact.at) {
                assert_eq!(sizes.check_target(target), Ok(()), "{}: {target}", model.id);
            }
        }
    }

    /// Table 2 of arXiv:2411.07191. The row of Llama 7B is that of the paper's text and code; an automatic reading of
    /// the table had 2968. The second entry of OLMo 1B is the table's own, although the authors' code has it in layer
    /// 2.
    const TABLE_2: [(&str, usize, usize, usize); 21] = [
        ("llama-7b", 2, 3968, 7003),
        ("llama-13b", 2, 2231, 2278),
        ("llama-13b", 2, 2231, 6939),
        ("llama-30b", 3, 5633, 12_817),
        ("llama-30b", 3, 5633, 17_439),
        ("llama-30b", 10, 5633, 14_386),
        ("llama-2-7b", 1, 2533, 7890),
        ("llama-2-13b", 3, 4743, 7678),
        ("mistral-7b-v0.1", 1, 2070, 7310),
        ("olmo-1b-0724", 1, 1764, 1710),
        ("olmo-1b-0724", 1, 1764, 8041),
        ("olmo-7b-0724", 1, 269, 7467),
        ("olmo-7b-0724", 2, 269, 8275),
        ("olmo-7b-0724", 7, 269, 453),
        ("olmo-7b-0724", 24, 269, 2300),
        ("phi-3-mini-4k", 2, 525, 808),
        ("phi-3-mini-4k", 2, 1693, 808),
        ("phi-3-mini-4k", 2, 1113, 808),
        ("phi-3-mini-4k", 4, 525, 2723),
        ("phi-3-mini-4k", 4, 1113, 2723),
        ("phi-3-mini-4k", 4, 1693, 2723),
    ];

    #[test]
    fn directory_of_the_paper_is_whole() {
        let of_paper = hub::all().flat_map(|model| model.facts.iter().map(|fact| (model.id, fact)));
        let of_paper = of_paper.filter(|(_, fact)| fact.source.contains("2411.07191"));
        let coordinates = of_paper.flat_map(|(id, fact)| {
            fact.at.iter().map(move |target| {
                let WeightCoord { layer, row, col, .. } = target.as_scalar().expect("the table has scalars only");
                (id, layer, row, col)
            })
        });
        let coordinates = coordinates.collect::<Vec<_>>();
        assert_eq!(coordinates.len(), TABLE_2.len());
        assert_eq!(coordinates.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(TABLE_2));
    }

    #[test]
    fn findings_say_what_and_where() {
        for fact in hub::all().flat_map(|model| model.facts) {
            assert!(fact.known.ends_with(['.', '"']) && !fact.source.is_empty(), "{fact:?}");
            assert_eq!(fact.at.is_empty(), fact.kind == Kind::Absent, "{fact:?}");
            assert!(fact.kind != Kind::Row || fact.at.iter().all(|target| target.as_row().is_some()), "{fact:?}");
        }
    }
}
