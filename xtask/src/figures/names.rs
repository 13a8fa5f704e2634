//! Finds the files that define the names in a crate's code.

use std::collections::BTreeSet;

use super::tree::{Module, Tree};

/// The meaning of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

/// One use of an item that another file defines.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Use<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub in_test: bool,
}

/// An absolute path in a module's code, below the root of its crate.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Written<'a> {
    /// The top-level module with the path.
    pub room: &'a str,
    pub file: &'a str,
    pub path: Vec<&'a str>,
    pub in_test: bool,
}

/// Names whose lookup is in progress, because re-exports may form a circle.
type Seen = BTreeSet<(usize, String)>;

impl Tree {
    /// The uses of one file's items by another; a re-export counts for the defining file.
    pub fn uses(&self) -> BTreeSet<Use<'_>> {
        let mut uses = BTreeSet::new();
        for (index, module) in self.modules.iter().enumerate() {
            for named in &module.names {
                for found in self.resolve(index, &named.path, &mut Seen::new()) {
                    // A module that is only named passes nothing on; its items have their own paths.
                    let Found::Item(definer) = found else { continue };
                    let (from, to) = (module.file.as_str(), self.modules[definer].file.as_str());
                    if from != to {
                        uses.insert(Use { from, to, in_test: named.in_test });
                    }
                }
            }
        }
        uses
    }

    /// The paths by which top-level modules name each other.
    pub fn written(&self) -> BTreeSet<Written<'_>> {
        let mut written = BTreeSet::new();
        for module in &self.modules {
            let Some(room) = module.path.first() else { continue };
            for named in &module.names {
                let path = self.absolute(module, &named.path);
                if path.first().is_some_and(|other| other != room && self.modules[0].children.contains_key(*other)) {
                    written.insert(Written { room, file: &module.file, path, in_test: named.in_test });
                }
            }
        }
        written
    }

    /// `path` from the root of the crate; empty if this cannot be told from its text.
    fn absolute<'a>(&'a self, module: &'a Module, path: &'a [String]) -> Vec<&'a str> {
        let n_supers = path.iter().take_while(|name| *name == "super").count();
        let (n_kept, rest) = match path.first().map(String::as_str) {
            Some("crate") => (0, &path[1..]),
            Some("super") if n_supers <= module.path.len() => (module.path.len() - n_supers, &path[n_supers..]),
            _ => return Vec::new(),
        };
        module.path[..n_kept].iter().chain(rest).map(String::as_str).collect()
    }

    /// Finds the meaning of a path in `module`; empty for items of other crates and of blocks of code.
    fn resolve(&self, module: usize, path: &[String], seen: &mut Seen) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(0)],
            "self" => vec![Found::Module(module)],
            "super" => vec![Found::Module(self.modules[module].parent)],
            name => self.look_up(module, name, seen),
        };
        for name in rest {
            let step = |found: Found| match found {
                // Variants and associated names.
                Found::Item(_) => vec![found],
                Found::Module(at) if name == "super" => vec![Found::Module(self.modules[at].parent)],
                Found::Module(_) if name == "self" => vec![found],
                Found::Module(at) => match self.look_up(at, name, seen) {
                    // A name that a macro creates, or one in a circle.
                    nothing if nothing.is_empty() => vec![Found::Item(at)],
                    some => some,
                },
            };
            found = found.into_iter().flat_map(step).collect();
        }
        found
    }

    /// Finds the meaning of `name` in `module`: its own item, or an imported one.
    fn look_up(&self, module: usize, name: &str, seen: &mut Seen) -> Vec<Found> {
        let key = (module, name.to_owned());
        if !seen.insert(key.clone()) {
            return Vec::new();
        }
        let here = &self.modules[module];
        let children = here.children.get(name).into_iter().flatten();
        let mut found: Vec<_> = children.map(|child| Found::Module(*child)).collect();
        if here.defines.iter().any(|defined| defined == name) {
            found.push(Found::Item(module));
        }
        for import in here.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            // `use name;` of another crate, or `use self::name::name`, begins with the searched name.
            found.extend(self.resolve(module, &import.path, seen));
        }
        if found.is_empty() {
            for import in here.imports.iter().filter(|import| import.name.is_none()) {
                for source in self.resolve(module, &import.path, seen) {
                    if let Found::Module(source) = source {
                        found.extend(self.look_up(source, name, seen));
                    }
                }
            }
        }
        seen.remove(&key);
        found
    }
}
