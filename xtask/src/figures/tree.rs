//! Reads a crate into its tree of modules, each with its items, imports and names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// The Rust files of a folder: each file's text by its path in that folder.
pub type Sources = BTreeMap<String, String>;

/// A file, or a `mod name { ... }` inside one.
#[derive(Default)]
pub struct Module {
    /// The path of names from the root of the crate.
    pub path: Vec<String>,
    pub file: String,
    pub parent: usize,
    /// Alternatives for different targets have the same name.
    pub children: BTreeMap<String, Vec<usize>>,
    pub defines: Vec<String>,
    pub imports: Vec<Import>,
    pub names: Vec<Named>,
}

/// The name imported by one leaf of a `use`.
pub struct Import {
    /// The name in this module; `None` for `*`.
    pub name: Option<String>,
    pub path: Vec<String>,
}

/// A path in a module's code, in a `use` or elsewhere.
pub struct Named {
    pub path: Vec<String>,
    pub in_test: bool,
}

pub struct SourceFile {
    pub module: Vec<String>,
    pub is_test: bool,
    /// First and last line of each item that is compiled only for tests.
    pub test_lines: Vec<(usize, usize)>,
}

pub struct Function {
    pub name: String,
    pub file: String,
    pub n_lines: usize,
    pub in_test: bool,
}

/// A crate; its first module is the root.
pub struct Tree {
    pub modules: Vec<Module>,
    pub files: BTreeMap<String, SourceFile>,
    pub functions: Vec<Function>,
}

impl Tree {
    /// Reads the crate whose root is the file `root`, with all declared files.
    pub fn read(sources: &Sources, root: &str) -> Result<Self, String> {
        let tree = Self { modules: vec![Module::default()], files: BTreeMap::new(), functions: Vec::new() };
        let mut reader = Reader { sources, tree, module: 0, in_test: false, problem: None };
        reader.read_file(root.to_owned(), 0);
        match reader.problem {
            None => Ok(reader.tree),
            Some(problem) => Err(problem),
        }
    }
}

struct Reader<'a> {
    sources: &'a Sources,
    tree: Tree,
    /// The module that is being read.
    module: usize,
    in_test: bool,
    problem: Option<String>,
}

impl Reader<'_> {
    fn read_file(&mut self, path: String, module: usize) {
        let parsed = match self.sources.get(&path).map(|text| syn::parse_file(text)) {
            Some(Ok(parsed)) => parsed,
            Some(Err(why)) => return self.fail(format!("{path}:{}: {why}", why.span().start().line)),
            None => return self.fail(format!("{path} is declared as a module, but not there")),
        };
        let is_test = self.in_test || path.ends_with("_tests.rs");
        let names = self.tree.modules[module].path.clone();
        self.tree.files.insert(path.clone(), SourceFile { module: names, is_test, test_lines: Vec::new() });
        self.tree.modules[module].file = path;
        let (outer_module, was_in_test) = (self.module, self.in_test);
        (self.module, self.in_test) = (module, is_test);
        self.visit_file(&parsed);
        (self.module, self.in_test) = (outer_module, was_in_test);
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn here(&mut self) -> &mut Module {
        &mut self.tree.modules[self.module]
    }

    fn name(&mut self, path: Vec<String>) {
        let in_test = self.in_test;
        self.here().names.push(Named { path, in_test });
    }

    /// Visits an item, whose attributes may restrict it to tests.
    fn within(&mut self, attributes: &[Attribute], span: Span, visit: impl FnOnce(&mut Self)) {
        let was_in_test = self.in_test;
        if !was_in_test && attributes.iter().any(is_for_tests) {
            self.in_test = true;
            let file = self.here().file.clone();
            if let Some(file) = self.tree.files.get_mut(&file) {
                file.test_lines.push((span.start().line, span.end().line));
            }
        }
        visit(self);
        self.in_test = was_in_test;
    }

    fn read_module(&mut self, declared: &syn::ItemMod) {
        let name = declared.ident.to_string();
        let parent = &self.tree.modules[self.module];
        let path = [parent.path.clone(), vec![name.clone()]].concat();
        let file = parent.file.clone();
        let child = self.tree.modules.len();
        self.tree.modules.push(Module { path, file: file.clone(), parent: self.module, ..Module::default() });
        self.here().children.entry(name.clone()).or_default().push(child);
        if let Some((_, items)) = &declared.content {
            let outer = std::mem::replace(&mut self.module, child);
            items.iter().for_each(|item| self.visit_item(item));
            self.module = outer;
        } else {
            let found = self.file_of(&name, &declared.attrs);
            self.read_file(found, child);
        }
    }

    /// The compiler's path for a module that the current one declares.
    fn file_of(&self, name: &str, attributes: &[Attribute]) -> String {
        let here = &self.tree.modules[self.module];
        let file = Path::new(&here.file);
        let folder = file.parent().unwrap_or(Path::new(""));
        let text = |path: PathBuf| path.to_string_lossy().replace('\\', "/");
        if let Some(given) = attributes.iter().find_map(path_attribute) {
            return text(folder.join(given));
        }
        let stem = file.file_stem().unwrap_or_default();
        let is_root = self.tree.modules[0].file == here.file;
        let mut folder = if is_root || stem == "mod" { folder.to_owned() } else { folder.join(stem) };
        // Modules inside the file also have folders.
        folder.extend(&here.path[self.tree.files[&here.file].module.len()..]);
        let beside = text(folder.join(format!("{name}.rs")));
        if self.sources.contains_key(&beside) { beside } else { text(folder.join(name).join("mod.rs")) }
    }

    /// Adds each leaf of a `use` below `prefix`.
    fn import(&mut self, tree: &UseTree, prefix: &[String]) {
        let below = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &below(&path.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix)),
            UseTree::Glob(_) => self.bring_in(None, prefix.to_vec()),
            UseTree::Name(leaf) if leaf.ident == "self" => self.bring_in(prefix.last().cloned(), prefix.to_vec()),
            UseTree::Name(leaf) => self.bring_in(Some(leaf.ident.to_string()), below(&leaf.ident)),
            UseTree::Rename(leaf) if leaf.ident == "self" => self.bring_in(Some(leaf.rename.to_string()), prefix.to_vec()),
            UseTree::Rename(leaf) => self.bring_in(Some(leaf.rename.to_string()), below(&leaf.ident)),
        }
    }

    fn bring_in(&mut self, name: Option<String>, path: Vec<String>) {
        self.name(path.clone());
        self.here().imports.push(Import { name, path });
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let n_lines = body.span().end().line + 1 - signature.span().start().line;
        let (name, file, in_test) = (signature.ident.to_string(), self.here().file.clone(), self.in_test);
        self.tree.functions.push(Function { name, file, n_lines, in_test });
    }

    /// Adds the paths among the tokens of a macro, whose grammar is unknown.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut before = ['\0'; 2];
        for token in tokens {
            match &token {
                TokenTree::Ident(name) if !matches!(before[1], '.' | '\'') => {
                    if before != [':', ':'] {
                        self.end_path(&mut path);
                    }
                    path.push(name.to_string());
                }
                TokenTree::Group(group) => {
                    self.end_path(&mut path);
                    self.scan(group.stream());
                }
                _ => {}
            }
            let c = if let TokenTree::Punct(punct) = &token { punct.as_char() } else { '\0' };
            before = [before[1], c];
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.name(std::mem::take(path));
        }
    }
}

impl Visit<'_> for Reader<'_> {
    fn visit_item(&mut self, item: &Item) {
        let defined = match item {
            Item::Const(item) => Some((&item.ident, &item.attrs)),
            Item::Enum(item) => Some((&item.ident, &item.attrs)),
            Item::Fn(item) => Some((&item.sig.ident, &item.attrs)),
            Item::Static(item) => Some((&item.ident, &item.attrs)),
            Item::Struct(item) => Some((&item.ident, &item.attrs)),
            Item::Trait(item) => Some((&item.ident, &item.attrs)),
            Item::Type(item) => Some((&item.ident, &item.attrs)),
            Item::Macro(item) => item.ident.as_ref().map(|name| (name, &item.attrs)),
            _ => None,
        };
        match defined {
            None => visit::visit_item(self, item),
            Some((name, attributes)) => {
                self.here().defines.push(name.to_string());
                self.within(attributes, item.span(), |reader| visit::visit_item(reader, item));
            }
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.within(&item.attrs, item.span(), |reader| reader.read_module(item));
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.within(&item.attrs, item.span(), |reader| reader.import(&item.tree, &[]));
        }
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        self.within(&item.attrs, item.span(), |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.within(&item.attrs, item.span(), |reader| {
            reader.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(reader, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none() {
            self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        visit::visit_macro(self, item);
        self.scan(item.tokens.clone());
    }
}

/// `true` if an attribute is `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let condition = list.tokens.to_string().replace(' ', "");
    list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
}

/// The file named by `#[path = "..."]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
    pair.path.is_ident("path").then(|| text.value())
}
