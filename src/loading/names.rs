//! The names of a checkpoint's tensors, in the form in which a family reads them.
//!
//! transformers saves a model with its head as `model.layers.0...`, and reads it also without `model.` in front, as the
//! base class saves it. Wrappers around the model while it was trained add parts of their own, which stay in the names
//! if the wrapper is saved instead of the model.

use std::collections::{BTreeMap, BTreeSet};

/// Parts that wrappers add anywhere in a name: `torch.compile`, fully sharded training, checkpointed activations.
const OF_WRAPPERS: [&str; 4] = ["_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module"];

/// The names of a checkpoint.
#[derive(Debug, Default)]
pub struct Names {
    /// For each name of the checkpoint that the family has otherwise, the family's.
    renamed: BTreeMap<String, String>,
    /// A part that is left out of the names, for people.
    left_out: Option<String>,
}

impl Names {
    /// Compares a checkpoint's names with a family's `[embeddings, head]`. They stay as they are if the embeddings are
    /// among them, or cannot be recognised by the end of one name.
    pub fn of(known: &BTreeSet<String>, [embeddings, head]: [&str; 2]) -> Self {
        let Some((root, table)) = embeddings.split_once('.') else { return Self::default() };
        let is_wrapped = |name: &String| name.split('.').any(|part| OF_WRAPPERS.contains(&part));
        if known.contains(embeddings) && !known.iter().any(is_wrapped) {
            return Self::default();
        }
        let bare = known.iter().map(|name| (name, without_wrappers(name))).collect::<Vec<_>>();
        let prefixes = bare.iter().filter_map(|(_, bare)| before(bare, table)).collect::<BTreeSet<_>>();
        let [prefix] = prefixes.into_iter().collect::<Vec<_>>()[..] else { return Self::default() };
        // The head lies beside the model without it.
        let around = before(prefix.trim_end_matches('.'), root).unwrap_or(prefix);
        let canonical = |bare: &str| {
            let of_head = bare.strip_prefix(around).filter(|rest| *rest == head).map(str::to_owned);
            of_head.or_else(|| bare.strip_prefix(prefix).filter(|rest| *rest != head).map(|rest| format!("{root}.{rest}")))
        };
        let renamed = bare.iter().filter_map(|(name, bare)| Some(((*name).clone(), canonical(bare)?))).filter(|(from, to)| from != to);
        let renamed = renamed.collect::<BTreeMap<_, _>>();
        // Two names that become one, or one that is there already.
        let targets = renamed.values().collect::<BTreeSet<_>>();
        let stay = known.iter().filter(|name| !renamed.contains_key(*name));
        if targets.len() < renamed.len() || stay.into_iter().any(|name| targets.contains(name)) {
            return Self::default();
        }
        let wrapper = OF_WRAPPERS.into_iter().find(|part| renamed.keys().any(|name| name.split('.').any(|of| of == *part)));
        let left_out = wrapper.or(Some(around.trim_end_matches('.')).filter(|around| !around.is_empty())).map(str::to_owned);
        Self { renamed, left_out }
    }

    /// The family's name of a tensor.
    pub fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        self.renamed.get(name).map_or(name, String::as_str)
    }

    /// A sentence about a part that was left out.
    pub fn note(&self) -> Option<String> {
        let part = self.left_out.as_ref()?;
        Some(format!(
            "The names of the checkpoint's tensors have the part “{part}”, which was left out: a wrapper around the model was saved."
        ))
    }
}

fn without_wrappers(name: &str) -> String {
    name.split('.').filter(|part| !OF_WRAPPERS.contains(part)).collect::<Vec<_>>().join(".")
}

/// The part of a name before a whole part at its end, with its dot.
fn before<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    name.strip_suffix(end).filter(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

    /// Returns the family's names for these, and the part that is left out.
    fn read(names: &[&str], tables: [&str; 2]) -> (Vec<String>, Option<String>) {
        let read = Names::of(&names.iter().map(|name| (*name).to_owned()).collect(), tables);
        (names.iter().map(|name| read.canonical(name).to_owned()).collect(), read.left_out)
    }

    #[test]
    fn names_behind_a_prefix_are_the_familys() {
        let family = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"];
        for (prefix, head, left_out) in [
            ("model.", "", None),
            ("", "", None),
            ("_orig_mod.model.", "_orig_mod.", Some("_orig_mod")),
            ("module.model.", "module.", Some("module")),
            ("module.", "module.", Some("module")),
            ("_orig_mod.module.model.", "_orig_mod.module.", Some("_orig_mod")),
            ("base_model.model.model.", "base_model.model.", Some("base_model.model")),
            ("language_model.model.", "language_model.", Some("language_model")),
            ("model._orig_mod.", "", Some("_orig_mod")),
        ] {
            let names =
                [format!("{prefix}embed_tokens.weight"), format!("{prefix}layers.0.mlp.up_proj.weight"), format!("{head}lm_head.weight")];
            assert_eq!(
                read(&names.each_ref().map(String::as_str), LLAMA),
                (family.map(str::to_owned).to_vec(), left_out.map(str::to_owned)),
                "{prefix}"
            );
        }
        let inside = ["model.embed_tokens.weight", "model.layers.0._orig_mod.mlp.up_proj.weight"];
        assert_eq!(read(&inside, LLAMA).0[1], "model.layers.0.mlp.up_proj.weight");
    }

    #[test]
    fn names_of_gpt2_and_of_gpt_neox_are_read_without_their_prefix() {
        let gpt2 = ["transformer.wte.weight", "lm_head.weight"];
        assert_eq!(read(&["wte.weight", "h.0.ln_1.weight"], gpt2).0, ["transformer.wte.weight", "transformer.h.0.ln_1.weight"]);
        let neox = ["gpt_neox.embed_in.weight", "embed_out.weight"];
        let names = ["module.gpt_neox.embed_in.weight", "module.gpt_neox.layers.0.mlp.bias", "module.embed_out.weight"];
        assert_eq!(read(&names, neox).0, ["gpt_neox.embed_in.weight", "gpt_neox.layers.0.mlp.bias", "embed_out.weight"]);
    }

    #[test]
    fn names_that_may_mean_two_tensors_stay() {
        for names in [
            ["draft.embed_tokens.weight", "main.embed_tokens.weight"],
            ["a.embed_tokens.weight", "a._orig_mod.embed_tokens.weight"],
            ["x.my_embed_tokens.weight", "layers.0.weight"],
        ] {
            assert_eq!(read(&names, LLAMA), (names.map(str::to_owned).to_vec(), None));
        }
    }
}
