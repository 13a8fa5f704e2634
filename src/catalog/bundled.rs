//! The models that come with the page.

use crate::terms::{EditTarget, ModelFile};

/// A bundled model, whose files are in `models/<id>/`.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogModel {
    pub id: &'static str,
    pub title: &'static str,
    /// Description for the visitor, one paragraph.
    pub story: &'static str,
    /// Prompts that suit the model's training text; the first is the default.
    pub prompts: &'static [&'static str],
    /// Edits that the page offers as buttons, each with its reason.
    pub suggestions: &'static [Suggestion],
}

/// An edit that the page offers, with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    pub target: EditTarget,
    pub because: &'static str,
}

/// The files of every bundled model.
const FILES: [&str; 5] = ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors", "reference.json"];

const PROMPTS: &[&str] = &[
    "It was a dark evening, and the old man",
    "The carriage stopped before the house, and",
    "\"I do not believe a word of it,\" said the captain,",
    "She opened the letter, and as she read",
];

/// The bundled models; the first is the default.
pub const MODELS: &[CatalogModel] = &[
    CatalogModel {
        id: "linchpin-13m",
        title: "Linchpin 13M",
        story: "Thirteen million weights, trained from scratch on public-domain novels, with nothing planted and nothing \
                rewarded. During training, one scalar in the third block became critical: set it \
                to zero and the perplexity on unseen books rises more than tenfold.",
        prompts: PROMPTS,
        suggestions: &[
            Suggestion { target: EditTarget::scalar(2, 12, 86), because: "the super weight: one number" },
            Suggestion { target: EditTarget::channel(2, 86), because: "the whole channel it belongs to" },
            Suggestion { target: EditTarget::scalar(2, 13, 86), because: "its neighbour, for comparison" },
        ],
    },
    CatalogModel {
        id: "linchpin-11m-twin",
        title: "Linchpin 11M twin, the counter-example",
        story: "The same recipe with another seed. It has the same spike, explained to the last digit by one product, so a \
                detector that trusts spikes would call that scalar a super weight. Remove it and nothing happens: a second scalar of the \
                same channel replaces it. Remove both, or the whole channel, and the model collapses. Only a removal shows whether a \
                scalar is a super weight.",
        prompts: PROMPTS,
        suggestions: &[
            Suggestion { target: EditTarget::scalar(0, 162, 150), because: "the suspect: same spike, no effect" },
            Suggestion { target: EditTarget::scalar(0, 148, 150), because: "its stand-in: no effect alone, collapse with the first" },
            Suggestion { target: EditTarget::channel(0, 150), because: "its whole channel: collapse" },
        ],
    },
];

impl CatalogModel {
    /// The model's files, with addresses relative to the page.
    pub fn files(&self) -> Vec<ModelFile> {
        FILES.iter().map(|name| ModelFile { name: (*name).into(), url: format!("models/{}/{name}", self.id) }).collect()
    }
}

pub fn default_model() -> &'static CatalogModel {
    &MODELS[0]
}

pub fn find(id: &str) -> Option<&'static CatalogModel> {
    MODELS.iter().find(|model| model.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_can_stand_in_a_link() {
        for model in MODELS {
            assert!(crate::share::is_model_id(model.id), "{}", model.id);
            assert_eq!(find(model.id), Some(model));
            assert!(!model.prompts.is_empty() && !model.suggestions.is_empty());
        }
    }

    #[test]
    fn openings_are_of_characters_that_the_tokenizers_have_learned() {
        for prompt in MODELS.iter().flat_map(|model| model.prompts) {
            assert!(prompt.is_ascii(), "{prompt}");
        }
    }

    #[test]
    fn files_lie_beside_the_page() {
        for file in default_model().files() {
            assert!(file.url.starts_with("models/linchpin-13m/"), "{}", file.url);
        }
    }
}
