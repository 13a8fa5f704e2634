use super::*;

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn structure(files: &[(&str, &str)], permissions: &Permissions<'_>) -> Structure {
    Structure::of(&Tree::read(&sources(files), "lib.rs").unwrap(), permissions)
}

/// The uses of files, as `a.rs b.rs`.
fn uses(files: &[(&str, &str)]) -> Vec<String> {
    let tree = Tree::read(&sources(files), "lib.rs").unwrap();
    let uses = tree.uses();
    uses.iter().filter(|found| !found.in_test).map(|found| format!("{} {}", found.from, found.to)).collect()
}

#[test]
fn imports_lead_to_the_file_that_defines_a_name() {
    let lib = ("lib.rs", "pub mod a; pub mod b;");
    let a = [
        ("a/mod.rs", "mod deep; pub use deep::*; pub use self::deep::Two as Second; pub fn own() {}"),
        ("a/deep.rs", "pub struct One; pub struct Two;"),
    ];
    let to = |b: &str| uses(&[lib, a[0], a[1], ("b.rs", b)]).into_iter().filter(|found| found.starts_with("b.rs")).collect::<Vec<_>>();
    assert_eq!(to("use crate::a::One;"), ["b.rs a/deep.rs"]);
    assert_eq!(to("use crate::a::{Second as S, own};"), ["b.rs a/deep.rs", "b.rs a/mod.rs"]);
    assert_eq!(to("use super::a; fn f() { a::own(); }"), ["b.rs a/mod.rs"]);
    assert_eq!(to("use crate::a::*; fn f(_: Two) {}"), ["b.rs a/deep.rs"]);
    assert_eq!(to("fn f() { view! { <p>{crate::a::Second::new}</p> } }"), ["b.rs a/deep.rs"]);
    assert_eq!(to("use crate::a; use std::fmt; mod inner { use super::super::a::own; }"), ["b.rs a/mod.rs"]);
    assert_eq!(to("use crate::a::made_by_a_macro;"), ["b.rs a/mod.rs"]);
    assert_eq!(to("use serde::One; fn f(a: usize) { a.own(); }"), [""; 0]);
}

#[test]
fn re_exports_in_a_circle_come_to_an_end() {
    let files = [("lib.rs", "mod a; mod b;"), ("a.rs", "pub use crate::b::*; use crate::b::X;"), ("b.rs", "pub use crate::a::*;")];
    assert_eq!(uses(&files), ["a.rs b.rs"]);
}

#[test]
fn rooms_floors_and_imports_upwards() {
    let files = [
        ("lib.rs", "mod low; mod middle; mod high; mod alone;"),
        ("low.rs", "use crate::high::H; pub struct L;"),
        ("middle.rs", "use crate::low::L; pub struct M;"),
        ("high.rs", "use crate::{low::L, middle::M}; pub struct H; #[cfg(test)] mod tests { use crate::alone::A; }"),
        ("alone.rs", "pub struct A;"),
    ];
    let permissions: [(&str, &[&str]); 4] =
        [("low", &["high::H", "high::X"]), ("middle", &["low"]), ("alone", &["low"]), ("high", &["low", "middle", "alone"])];
    let found = structure(&files, &permissions);
    assert_eq!((found.rooms.len(), found.n_arrows), (4, 4));
    assert_eq!(found.longest_way, ["high", "middle", "low"]);
    assert_eq!(found.upwards, ["low -> high"]);
    assert_eq!(found.unused, ["low -> high::X", "alone -> low"]);
    assert_eq!(found.used_by_tests, ["high -> alone"]);
    assert_eq!(found.forbidden, [""; 0]);
    assert_eq!(found.circles, [["high.rs", "low.rs", "middle.rs"]]);
}

#[test]
fn imports_that_the_table_does_not_permit_are_found() {
    let forbidden = |high: &str| {
        let files = [("lib.rs", "mod low; mod high;"), ("low.rs", "pub struct L;"), ("high.rs", high)];
        structure(&files, &[("low", &[]), ("high", &[])]).forbidden
    };
    for import in ["use crate::low::L;", "use crate::{low::L};", "use super::low;", "fn f() { view! { crate::low::L } }"] {
        assert_eq!(forbidden(import), ["src/high.rs: `high` may not import `low`"], "{import}");
    }
    assert_eq!(forbidden("#[cfg(test)] use crate::low::L;").len(), 1);
    assert_eq!(forbidden("// use crate::low::L;\nuse my_crate::low::L;"), [""; 0]);
    let novelty = structure(&[("lib.rs", "mod novelty;"), ("novelty.rs", "")], &[]);
    assert_eq!(novelty.forbidden, ["room `novelty` is not in the import table"]);
}

#[test]
fn imports_against_the_table_run_upwards_only_in_a_circle() {
    let files = [("lib.rs", "mod low; mod high;"), ("low.rs", "use crate::high::H;"), ("high.rs", "pub struct H;")];
    let found = structure(&files, &[("low", &["high"]), ("high", &[])]);
    assert_eq!((found.n_arrows, found.upwards.len(), found.longest_way.len()), (1, 0, 2));
}

#[test]
fn circles_are_between_files_that_are_not_of_one_family() {
    let mod_and_child = [("lib.rs", "mod a;"), ("a/mod.rs", "mod b; use b::B; pub struct A;"), ("a/b.rs", "use super::A; pub struct B;")];
    assert_eq!(structure(&mod_and_child, &[]).circles.len(), 0);
    let siblings = [
        ("lib.rs", "mod a;"),
        ("a.rs", "mod b; mod c;"),
        ("a/b.rs", "use super::c::C; pub struct B;"),
        ("a/c.rs", "use super::b::B; pub struct C;"),
    ];
    assert_eq!(structure(&siblings, &[]).circles, [["a/b.rs", "a/c.rs"]]);
    let test_only = [siblings[0], siblings[1], siblings[2], ("a/c.rs", "pub struct C; #[cfg(test)] use super::b::B;")];
    assert_eq!(structure(&test_only, &[]).circles.len(), 0);
}

#[test]
fn modules_with_a_path_and_test_files_are_found() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b; pub struct A;"),
        ("a/b.rs", "#[cfg(test)] #[path = \"b_tests.rs\"] mod tests;"),
        ("a/b_tests.rs", "use super::super::A; fn helper() {}"),
    ];
    let tree = Tree::read(&sources(&files), "lib.rs").unwrap();
    assert!(tree.files["a/b_tests.rs"].is_test && !tree.files["a/b.rs"].is_test);
    assert!(tree.functions[0].in_test);
    let inside = [("lib.rs", "mod a;"), ("a.rs", "mod b { mod c; }"), ("a/b/c.rs", "#[cfg(test)] fn helper() {}")];
    let tree = Tree::read(&sources(&inside), "lib.rs").unwrap();
    assert_eq!(tree.files["a/b/c.rs"].module, ["a", "b", "c"]);
    assert!(tree.functions[0].in_test);
    assert!(Tree::read(&sources(&[("lib.rs", "mod gone;")]), "lib.rs").is_err());
}

#[test]
fn lines_docs_and_tests_are_told_apart() {
    let source = "//! Of a file.\n\n/// What it is:\n/// a thing.\nstruct A;\n\n// A comment.\n#[cfg(test)]\nmod tests {\n    /// None of it.\n    \
                  #[test]\n    #[ignore]\n    fn what_it_does() {}\n}\n";
    let tree = Tree::read(&sources(&[("lib.rs", source)]), "lib.rs").unwrap();
    let text = Text::read(source).unwrap();
    assert_eq!(text.lines(source, false, &tree.files["lib.rs"].test_lines), Lines { files: 1, code: 1, docs: 3, tests: 7, total: 14 });
    assert_eq!(text.docs, [" Of a file.", " What it is:\n a thing.", " None of it."]);
    assert!(text.docs.iter().all(|doc| text::is_headless(doc)) && !text::is_headless("A thing. What it is."));
    assert_eq!(text.tests, ["what_it_does"]);
    assert!(text::is_vague_test("what_it_does") && text::is_vague_test("the_end") && !text::is_vague_test("items_are_read"));
    let in_macro = Text::read("proptest! { #[test] fn it_holds(x in 0..3) { } }").unwrap();
    assert_eq!(in_macro.tests, ["it_holds"]);
}

#[test]
fn functions_are_measured_from_their_name_to_their_end() {
    let source = "/// One.\npub fn one() {\n}\nimpl A {\n    fn two(&self) {\n        x();\n    }\n}\n";
    let figures = Figures::measure(&sources(&[("src/lib.rs", source)]), &[]).unwrap();
    assert_eq!(figures.functions.iter().map(|function| function.n_lines).collect::<Vec<_>>(), [2, 3]);
    assert!(figures.table().contains("longest 3 (`two`, src/lib.rs)"), "{}", figures.table());
    assert_eq!(figures.findings(), [""; 0]);
}

#[test]
fn files_that_no_module_declares_are_refused() {
    let lost = sources(&[("src/lib.rs", ""), ("src/lost.rs", ""), ("tests/tests.rs", "")]);
    assert!(Figures::measure(&lost, &[]).is_err_and(|why| why.contains("src/lost.rs")));
}

#[test]
fn vague_test_is_a_finding() {
    let named = |name: &str| sources(&[("src/lib.rs", ""), ("tests/tests.rs", &format!("#[test] fn {name}() {{}}"))]);
    let findings = |name: &str| Figures::measure(&named(name), &[]).unwrap().findings();
    assert_eq!(findings("files_are_read"), [""; 0]);
    assert_eq!(findings("it_works"), ["tests/tests.rs: it_works: the name of a test begins with its subject"]);
}

#[test]
fn doc_comments_without_a_subject_are_findings() {
    let findings = |doc: &str| Figures::measure(&sources(&[("src/lib.rs", &format!("//! {doc}\n"))]), &[]).unwrap().findings();
    assert_eq!(findings("The library."), [""; 0]);
    assert_eq!(findings("What it is.\n//! More."), ["src/lib.rs: What it is.: a doc comment begins with its subject"]);
}

#[test]
fn figures_above_their_limits_are_findings() {
    let figures = |n: usize| {
        let structure = Structure { circles: vec![Vec::new(); n], ..Structure::default() };
        Figures { structure, ..Figures::default() }
    };
    assert_eq!(figures(MAX_CIRCLES).findings(), [""; 0]);
    assert_eq!(figures(MAX_CIRCLES + 1).findings().len(), 1);
}
