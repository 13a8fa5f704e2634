//! Who may import whom: the map at the head of `src/lib.rs`, as a table that is checked.

/// The modules of the library, and those of ours (or the part of one) that each may name.
const MAY_IMPORT: [(&str, &[&str]); 18] = [
    ("terms", &[]),
    ("protocol", &["terms"]),
    ("share", &["terms", "protocol"]),
    ("catalog", &["terms", "protocol", "share"]),
    ("draw", &["terms"]),
    ("tokenizer", &["terms"]),
    ("platform", &["terms", "protocol"]),
    ("tensors", &["platform"]),
    ("model", &["terms", "weights", "tensors"]),
    ("weights", &["terms", "catalog", "platform", "protocol", "model", "tensors", CONTROL, ERROR]),
    ("analysis", &["terms", "protocol", "model", "tensors", "tokenizer", CONTROL, ERROR]),
    ("generate", &["terms", "protocol", "model", "tokenizer", "analysis", CONTROL, ERROR]),
    ("experiments", &["terms", "protocol", "platform", "model", "tensors", "tokenizer", "analysis", CONTROL, ERROR]),
    ("decode", &["terms", "platform", "model", "tensors", "generate"]),
    (
        "engine",
        &[
            "terms",
            "protocol",
            "catalog",
            "share",
            "tokenizer",
            "platform",
            "weights",
            "model",
            "analysis",
            "experiments",
            "generate",
            "decode",
        ],
    ),
    ("hub", &["terms", "protocol", "catalog", "weights"]),
    ("cli", &["terms", "protocol", "catalog", "share", "draw", "engine", "hub"]),
    ("ui", &["terms", "protocol", "share", "catalog", "draw"]),
];

/// How anything that takes long is stopped, and what may go wrong in it.
const CONTROL: &str = "engine::control";
const ERROR: &str = "engine::error";

/// Crates of tensors, which these modules do without.
const TENSOR_CRATES: [&str; 5] = ["burn", "cubecl", "wgpu", "tokenizers", "half"];
const WITHOUT_TENSORS: [&str; 8] = ["terms", "catalog", "protocol", "share", "draw", "platform", "cli", "ui"];

/// Modules that read no files and open no connections.
const WITHOUT_IO: [&str; 7] = ["terms", "draw", "tensors", "model", "analysis", "experiments", "generate"];

/// The table, for the figures: lowest module first.
pub fn permissions() -> Vec<(&'static str, &'static [&'static str])> {
    MAY_IMPORT.to_vec()
}

/// Finds what a source file (its path below `src/`) imports against the table.
pub fn violations(path: &str, source: &str) -> Vec<String> {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    // The tests of a module may lie beside it.
    let module = module.trim_end_matches("_tests");
    if matches!(module, "lib" | "bin") {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![format!("src/{path}: module `{module}` is not in the import table (xtask/src/modules.rs)")];
    };
    let code = without_comments(source);
    let mut found = Vec::new();
    for named in crate_modules_named(&code) {
        let whole = named.split(':').next().unwrap_or_default();
        let known = MAY_IMPORT.iter().any(|(name, _)| *name == whole);
        let is_allowed = allowed.contains(&whole) || allowed.contains(&named.as_str());
        if known && whole != module && !is_allowed {
            found.push(format!("src/{path}: `{module}` may not import `{named}`"));
        }
    }
    if WITHOUT_TENSORS.contains(&module) {
        let tensors = TENSOR_CRATES.iter().filter(|name| has_path(&code, name));
        // The platform is where a GPU is asked for.
        let tensors = tensors.filter(|name| module != "platform" || **name == "tokenizers");
        found.extend(tensors.map(|name| format!("src/{path}: `{module}` may not import the crate `{name}`")));
    }
    if WITHOUT_IO.contains(&module) {
        for forbidden in ["std::fs", "std::net", "web_sys"] {
            if code.contains(forbidden) {
                found.push(format!("src/{path}: `{module}` does no I/O, but names `{forbidden}`"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn without_comments(source: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    source.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// The modules in `crate::a`, `crate::{a, b::{c}, d}`, each with one step below it: `a`, `b::c`.
fn crate_modules_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        // `$crate::` in a macro counts; the name of another crate that ends so does not.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => named.push(leading_name(rest)),
            Some(group) => named.extend(group_names(group)),
        }
    }
    named
}

/// The first names of each item of a `{...}` group whose opening brace has been taken off.
fn group_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item_begins = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => item_begins = true,
            c if item_begins && !c.is_whitespace() => {
                names.push(leading_name(&group[at..]));
                item_begins = false;
            }
            _ => {}
        }
    }
    names
}

/// The one or two names that a path begins with.
fn leading_name(path: &str) -> String {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let first = name(path);
    let second = path[first.len()..].strip_prefix("::").map(name).unwrap_or_default();
    if second.is_empty() { first } else { format!("{first}::{second}") }
}

/// Says whether `name::` occurs as the beginning of a path.
fn has_path(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_against_the_table_are_found() {
        let n = |path, source| violations(path, source).len();
        assert_eq!(n("ui/mod.rs", "use crate::protocol::Event;\nuse crate::{terms::{Site, X}, share};"), 0);
        assert_eq!(n("ui/mod.rs", "use crate::{terms, engine::Engine};"), 1);
        assert_eq!(n("ui/mod.rs", "use crate::model;\nuse crate::weights::Weights;"), 2);
        assert_eq!(n("ui/mod.rs", "use burn::tensor::Tensor;"), 1);
        assert_eq!(n("ui/mod.rs", "// crate::model and burn::Tensor are not for here"), 0);
        assert_eq!(n("ui/chart.rs", "let half = crate::ui::half::x(); my_crate::model::y();"), 0);
        assert_eq!(n("model/llama.rs", "use crate::model::mlp::Mlp; use burn::prelude::*;"), 0);
        assert_eq!(n("model/llama.rs", "std::fs::read(path)"), 1);
        assert_eq!(n("analysis/spikes.rs", "use crate::engine::control::Control;"), 0);
        assert_eq!(n("analysis/spikes.rs", "use crate::{engine::Engine, engine::error::E};"), 1);
        assert_eq!(n("share_tests.rs", "use crate::terms;"), 0);
        assert_eq!(n("novelty.rs", ""), 1);
    }
}
