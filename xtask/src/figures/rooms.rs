//! The figures of a structure: rooms, their floors, and violations of both.
//!
//! A *room* is a top-level module of `src/`, and an *arrow* means that code of one room names another. Code for tests
//! does not count.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::names::Written;
use super::tree::Tree;

type Arrow<'a> = (&'a str, &'a str);
/// The rooms that each room may use, lowest room first.
pub type Permissions<'a> = [(&'a str, &'a [&'a str])];

#[derive(Debug, Default, PartialEq)]
pub struct Structure {
    pub rooms: Vec<String>,
    /// The rooms on the longest path down, highest first.
    pub longest_way: Vec<String>,
    pub n_arrows: usize,
    /// Arrows to remove until no rooms name each other in a circle.
    pub upwards: Vec<String>,
    /// Imports that the table does not permit, and rooms missing from it.
    pub forbidden: Vec<String>,
    /// Files that need each other in a circle, by groups.
    pub circles: Vec<Vec<String>>,
    /// Permissions that no code needs.
    pub unused: Vec<String>,
    /// Permissions that only tests need.
    pub used_by_tests: Vec<String>,
}

impl Structure {
    pub fn of(tree: &Tree, permissions: &Permissions<'_>) -> Self {
        let rooms: Vec<_> = tree.modules[0].children.keys().map(String::as_str).collect();
        let written = tree.written();
        let arrows: BTreeSet<Arrow<'_>> = written.iter().filter(|w| !w.in_test).map(|w| (w.room, w.path[0])).collect();
        let upwards = upwards(&arrows, permissions);
        let downwards: Vec<_> = arrows.difference(&upwards).copied().collect();
        let ways = rooms.iter().map(|room| longest_way(room, &downwards));
        let mut structure = Self {
            longest_way: ways.max_by_key(Vec::len).unwrap_or_default(),
            rooms: rooms.iter().map(ToString::to_string).collect(),
            n_arrows: arrows.len(),
            upwards: upwards.iter().map(shown).collect(),
            forbidden: forbidden(&rooms, &written, permissions),
            circles: circles(tree),
            ..Self::default()
        };
        for (room, allowed) in permissions {
            for name in *allowed {
                let path: Vec<_> = name.split("::").collect();
                let mut uses = written.iter().filter(|w| w.room == *room && w.path.starts_with(&path)).peekable();
                let is_used = uses.peek().is_some();
                if is_used && uses.all(|w| w.in_test) {
                    structure.used_by_tests.push(shown(&(room, name)));
                } else if !is_used {
                    structure.unused.push(shown(&(room, name)));
                }
            }
        }
        structure
    }
}

fn shown((from, to): &Arrow<'_>) -> String {
    format!("{from} -> {to}")
}

/// Violations of the table, in code and in tests.
fn forbidden(rooms: &[&str], written: &BTreeSet<Written<'_>>, permissions: &Permissions<'_>) -> Vec<String> {
    let allowed = |room: &str| permissions.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
    let lacking = rooms.iter().filter(|room| allowed(room).is_none()).map(|room| format!("room `{room}` is not in the import table"));
    let is_allowed = |w: &Written<'_>| {
        let mut names = allowed(w.room).unwrap_or_default().iter();
        names.any(|name| w.path.starts_with(&name.split("::").collect::<Vec<_>>()))
    };
    let imports = written.iter().filter(|w| !is_allowed(w)).map(|w| format!("src/{}: `{}` may not import `{}`", w.file, w.room, w.path[0]));
    lacking.chain(imports).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The arrows against the order of the table, among rooms that name each other in a circle.
fn upwards<'a>(arrows: &BTreeSet<Arrow<'a>>, permissions: &Permissions<'_>) -> BTreeSet<Arrow<'a>> {
    // Rooms missing from the table come last, by name.
    let place = |room: &'a str| (permissions.iter().position(|(name, _)| *name == room).unwrap_or(usize::MAX), room);
    let circles = tarjan_scc(&DiGraphMap::<&str, ()>::from_edges(arrows));
    let in_a_circle = |(from, to): &Arrow<'_>| circles.iter().any(|circle| circle.contains(from) && circle.contains(to));
    arrows.iter().filter(|arrow| in_a_circle(arrow) && place(arrow.0) < place(arrow.1)).copied().collect()
}

/// The longest path from `room` along arrows without a circle.
fn longest_way(room: &str, downwards: &[Arrow<'_>]) -> Vec<String> {
    let below = downwards.iter().filter(|(from, _)| *from == room).map(|(_, to)| longest_way(to, downwards));
    let longest = below.max_by_key(Vec::len).unwrap_or_default();
    std::iter::once(room.to_owned()).chain(longest).collect()
}

/// Circles within each room, and those through several rooms.
///
/// A module and a module inside it that need each other are not a circle, because they are read as one.
fn circles(tree: &Tree) -> Vec<Vec<String>> {
    let module = |file: &str| tree.files.get(file).map(|file| file.module.as_slice()).unwrap_or_default();
    let room = |file: &str| module(file).first().cloned().unwrap_or_default();
    let are_family = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
    let uses = tree.uses();
    let uses: Vec<_> = uses.iter().filter(|u| !u.in_test && !are_family(module(u.from), module(u.to))).collect();

    let mut of_room: BTreeMap<String, DiGraphMap<&str, ()>> = BTreeMap::new();
    let mut whole = DiGraphMap::<&str, ()>::new();
    for found in uses {
        whole.add_edge(found.from, found.to, ());
        if room(found.from) == room(found.to) {
            of_room.entry(room(found.from)).or_default().add_edge(found.from, found.to, ());
        }
    }
    let through_several = |circle: &Vec<&str>| circle.iter().any(|file| room(file) != room(circle[0]));
    let mut circles: Vec<_> = of_room.values().flat_map(tarjan_scc).filter(|circle| circle.len() > 1).collect();
    circles.extend(tarjan_scc(&whole).into_iter().filter(through_several));
    let sorted = |circle: Vec<&str>| circle.into_iter().map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
    circles.into_iter().map(sorted).collect()
}
