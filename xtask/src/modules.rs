//! Who may import whom: the map at the head of `src/lib.rs`, as a table that is checked.

/// The rooms (the top modules of the library), and those that each may import. Every room imports only rooms above it here.
const MAY_IMPORT: [(&str, &[&str]); 20] = [
    ("words", &[]),
    ("terms", &[]),
    ("protocol", &["terms"]),
    ("share", &["words", "terms"]),
    // `words` and `share` in its tests only: an id is one that a link can hold.
    ("catalog", &["words", "terms", "share"]),
    ("draw", &["words", "terms"]),
    ("tokenizer", &[]),
    ("weights", &[]),
    ("platform", &["words", "terms", "weights"]),
    ("job", &["protocol", "platform"]),
    ("sampling", &["terms"]),
    ("tensors", &["platform"]),
    ("model", &["terms", "weights", "tensors"]),
    ("loading", &["terms", "platform", "job", "weights", "tensors", "model"]),
    // `sampling` in its tests only: it is what the GPU's choice is compared with.
    ("decode", &["terms", "platform", "sampling", "tensors", "model"]),
    ("analysis", &["terms", "tokenizer", "job", "tensors", "model"]),
    ("experiments", &["terms", "protocol", "platform", "tokenizer", "job", "tensors", "model", "analysis"]),
    (
        "engine",
        &[
            "terms",
            "protocol",
            "tokenizer",
            "weights",
            "platform",
            "job",
            "sampling",
            "tensors",
            "model",
            "loading",
            "decode",
            "analysis",
            "experiments",
        ],
    ),
    ("cli", &["words", "terms", "protocol", "share", "catalog", "draw", "platform", "job", "engine"]),
    ("ui", &["words", "terms", "protocol", "share", "catalog", "draw"]),
];

/// Crates of tensors, which these modules do without.
const TENSOR_CRATES: [&str; 5] = ["burn", "cubecl", "wgpu", "tokenizers", "half"];
const WITHOUT_TENSORS: [&str; 9] = ["words", "terms", "catalog", "protocol", "share", "draw", "platform", "cli", "ui"];

/// Modules that read no files and open no connections.
const WITHOUT_IO: [&str; 9] = ["words", "terms", "draw", "job", "sampling", "tensors", "model", "analysis", "experiments"];

/// The room that a source file (its path below `src/`) is in; none for the library's head and the binaries.
fn room(path: &str) -> Option<&str> {
    let name = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    // The tests of a module may lie beside it.
    let name = name.trim_end_matches("_tests");
    (!matches!(name, "lib" | "bin")).then_some(name)
}

/// The permissions of the table that no source file (its path below `src/`, and its text) makes use of.
pub fn unused(sources: &[(String, String)]) -> Vec<String> {
    let imports = sources.iter().filter_map(|(path, source)| Some((room(path)?, rooms_named(&without_comments(source)))));
    let imports = imports.collect::<Vec<_>>();
    let is_used = |room: &str, named: &str| imports.iter().any(|(of, rooms)| *of == room && rooms.iter().any(|name| name == named));
    let permissions = MAY_IMPORT.iter().flat_map(|(room, allowed)| allowed.iter().map(move |named| (*room, *named)));
    let unused = permissions.filter(|(room, named)| !is_used(room, named));
    unused.map(|(room, named)| format!("xtask/src/modules.rs: `{room}` may import `{named}`, and does not")).collect()
}

/// The table, for the figures: lowest module first.
pub fn permissions() -> Vec<(&'static str, &'static [&'static str])> {
    MAY_IMPORT.to_vec()
}

/// Finds what a source file (its path below `src/`) imports against the table.
pub fn violations(path: &str, source: &str) -> Vec<String> {
    let Some(module) = room(path) else { return Vec::new() };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![format!("src/{path}: module `{module}` is not in the import table (xtask/src/modules.rs)")];
    };
    let code = without_comments(source);
    let mut found = Vec::new();
    for named in rooms_named(&code) {
        let known = MAY_IMPORT.iter().any(|(name, _)| *name == named);
        if known && named != module && !allowed.contains(&named.as_str()) {
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

/// The rooms in `crate::a`, `crate::{a, b::{c}, d}`: `a`, `b`, `d`.
fn rooms_named(code: &str) -> Vec<String> {
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

/// The first name of each item of a `{...}` group whose opening brace has been taken off.
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

/// The name that a path begins with.
fn leading_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
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
        assert_eq!(n("analysis/spikes.rs", "use crate::job::control::Control;"), 0);
        assert_eq!(n("analysis/spikes.rs", "use crate::{engine::Engine, job::Stopped};"), 1);
        assert_eq!(n("share_tests.rs", "use crate::terms;"), 0);
        assert_eq!(n("novelty.rs", ""), 1);
    }
    #[test]
    fn permissions_that_nobody_uses_are_found() {
        let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let n_permissions = MAY_IMPORT.iter().map(|(_, allowed)| allowed.len()).sum::<usize>();
        assert_eq!(unused(&[]).len(), n_permissions);
        let two = [source("job/control.rs", "use crate::{platform, protocol::Event};"), source("draw/marks.rs", "// crate::terms")];
        assert_eq!(unused(&two).len(), n_permissions - 2);
    }

    #[test]
    fn rooms_import_only_what_is_above_them_in_the_table() {
        for (index, (room, allowed)) in MAY_IMPORT.iter().enumerate() {
            for named in *allowed {
                assert!(MAY_IMPORT[..index].iter().any(|(above, _)| above == named), "{room} imports {named}");
            }
        }
    }
}
