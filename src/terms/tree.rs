//! JSON as a tree, and what is made of one. The page reads everything so: derived readers of the same documents would be a
//! tenth of its download.
//!
//! A list that is absent is empty; what is of another kind is refused, and so is what lies deeper than anything of ours.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// No document of ours is deeper; one of a stranger's could exhaust the stack.
pub const MAX_DEPTH: u8 = 12;

#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Nothing,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads something; `what` it should be is for the message.
    pub(crate) fn read<'de, D: Deserializer<'de>, T>(from: D, what: &str, of: fn(Tree) -> Option<T>) -> Result<T, D::Error> {
        let tree = Depth(MAX_DEPTH).deserialize(from)?;
        of(tree).ok_or_else(|| D::Error::custom(format_args!("this is no {what}")))
    }

    pub(crate) fn number(self) -> Option<f64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// A whole number; above 2^53, JavaScript's are not exact.
    pub(crate) fn u64(self) -> Option<u64> {
        self.number()
            .filter(|number| (0.0..=18_446_744_073_709_551_616.0).contains(number) && number.fract() == 0.0)
            .map(|number| number as u64)
    }

    pub(crate) fn f32(self) -> Option<f32> {
        self.number().map(|number| number as f32)
    }

    pub(crate) fn usize(self) -> Option<usize> {
        self.u64()?.try_into().ok()
    }

    pub(crate) fn u32(self) -> Option<u32> {
        self.u64()?.try_into().ok()
    }

    pub(crate) fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn list<T>(self, of: fn(Self) -> Option<T>) -> Option<Vec<T>> {
        if let Self::List(items) = self { items.into_iter().map(of).collect() } else { None }
    }

    /// Two of them.
    pub(crate) fn pair(self) -> Option<[Self; 2]> {
        if let Self::List(items) = self { items.try_into().ok() } else { None }
    }
}

/// Takes a map apart. What is of another kind than asked for is remembered rather than told at once: a way out after each
/// field, with all before it to be dropped, would be most of the code.
pub(crate) struct Fields {
    fields: Vec<(String, Tree)>,
    is_sound: bool,
}

impl From<Tree> for Fields {
    fn from(tree: Tree) -> Self {
        match tree {
            Tree::Map(fields) => Self { fields, is_sound: true },
            _ => Self { fields: Vec::new(), is_sound: false },
        }
    }
}

impl Fields {
    /// A field as it is.
    pub(crate) fn take(&mut self, name: &str) -> Tree {
        let found = self.fields.iter().position(|(key, _)| key == name);
        found.map_or(Tree::Nothing, |at| std::mem::replace(&mut self.fields[at].1, Tree::Nothing))
    }

    /// A field as what it is to be.
    pub(crate) fn get<T: FromTree>(&mut self, name: &str) -> Option<T> {
        T::from_tree(self.take(name))
    }

    /// What may be absent.
    pub(crate) fn maybe<T>(&mut self, name: &str, of: fn(Tree) -> Option<T>) -> Option<T> {
        let tree = self.take(name);
        if tree == Tree::Nothing {
            return None;
        }
        let found = of(tree);
        self.is_sound &= found.is_some();
        found
    }

    /// Absent is empty.
    pub(crate) fn text(&mut self, name: &str) -> String {
        self.maybe(name, Tree::text).unwrap_or_default()
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.maybe(name, |tree| if let Tree::Flag(flag) = tree { Some(flag) } else { None }).unwrap_or_default()
    }

    /// Absent is empty.
    pub(crate) fn list<T>(&mut self, name: &str, of: fn(Tree) -> Option<T>) -> Vec<T> {
        let items = match self.take(name) {
            Tree::List(items) => items,
            other => {
                self.is_sound &= other == Tree::Nothing;
                return Vec::new();
            }
        };
        let n = items.len();
        let list: Vec<T> = items.into_iter().filter_map(of).collect();
        self.is_sound &= list.len() == n;
        list
    }

    /// What was made of them, unless something was of another kind.
    pub(crate) fn done<T>(self, made: T) -> Option<T> {
        self.is_sound.then_some(made)
    }
}

/// What can be made of a tree.
pub trait FromTree: Sized {
    /// None if the tree is of something else.
    fn from_tree(tree: Tree) -> Option<Self>;
}

macro_rules! plain {
    ($($of:ty: $get:ident),*) => { $(impl FromTree for $of {
        fn from_tree(tree: Tree) -> Option<Self> {
            tree.$get()
        }
    })* };
}
plain!(f64: number, f32: f32, u64: u64, u32: u32, usize: usize, String: text);

impl FromTree for bool {
    fn from_tree(tree: Tree) -> Option<Self> {
        match tree {
            Tree::Flag(flag) => Some(flag),
            Tree::Nothing => Some(false),
            _ => None,
        }
    }
}

impl FromTree for char {
    fn from_tree(tree: Tree) -> Option<Self> {
        let text = tree.text()?;
        let mut letters = text.chars();
        letters.next().filter(|_| letters.next().is_none())
    }
}

impl<T: FromTree> FromTree for Option<T> {
    fn from_tree(tree: Tree) -> Option<Self> {
        if tree == Tree::Nothing { Some(None) } else { T::from_tree(tree).map(Some) }
    }
}

impl<T: FromTree> FromTree for Vec<T> {
    fn from_tree(tree: Tree) -> Option<Self> {
        match tree {
            Tree::List(items) => items.into_iter().map(T::from_tree).collect(),
            Tree::Nothing => Some(Self::new()),
            _ => None,
        }
    }
}

impl<A: FromTree, B: FromTree> FromTree for (A, B) {
    fn from_tree(tree: Tree) -> Option<Self> {
        let [a, b] = tree.pair()?;
        Some((A::from_tree(a)?, B::from_tree(b)?))
    }
}

impl FromTree for [f32; 2] {
    fn from_tree(tree: Tree) -> Option<Self> {
        <(f32, f32)>::from_tree(tree).map(Self::from)
    }
}

/// Structures whose fields are called as in JSON.
macro_rules! structures {
    ($($of:ty { $($field:ident),* })*) => { $(impl $crate::terms::FromTree for $of {
        fn from_tree(tree: $crate::terms::Tree) -> Option<Self> {
            let mut fields = $crate::terms::Fields::from(tree);
            // One way out for all of them.
            let ($(Some($field),)*) = ($(fields.get(stringify!($field)),)*) else { return None };
            fields.done(Self { $($field),* })
        }
    })* };
}
pub(crate) use structures;

/// Enumerations of names. One that is left out does not compile.
macro_rules! names {
    ($($of:ident { $($name:literal $value:ident),* })*) => { $(
    const _: fn($of) = |value| match value { $($of::$value => ()),* };
    impl $crate::terms::FromTree for $of {
        fn from_tree(tree: $crate::terms::Tree) -> Option<Self> {
            match tree.text()?.as_str() {
                $($name => Some(Self::$value),)*
                _ => None,
            }
        }
    }
    )* };
}
pub(crate) use names;

/// How deep it may still go.
struct Depth(u8);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        from.deserialize_any(self)
    }
}

impl Depth {
    fn below<E: Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("this is deeper than anything of ours"))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Depth(below))? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let below = self.below()?;
        let mut map = Vec::new();
        while let Some(key) = fields.next_key()? {
            map.push((key, fields.next_value_seed(Depth(below))?));
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Tree> {
        Tree::read(&mut serde_json::Deserializer::from_str(json), "thing", Some).ok()
    }

    #[test]
    fn whole_numbers_are_whole() {
        let whole = |json: &str| read(json).unwrap().u64();
        assert_eq!(["0", "7.0", "9007199254740991"].map(whole), [Some(0), Some(7), Some((1 << 53) - 1)]);
        assert_eq!(["-1", "0.5", "1e20", "\"7\"", "null"].map(whole), [None; 5]);
        assert_eq!(read("4294967296").unwrap().u32(), None);
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let nested = |depth: usize| read(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(nested(MAX_DEPTH.into()).is_some());
        assert!(nested(usize::from(MAX_DEPTH) + 1).is_none());
    }

    #[test]
    fn what_is_absent_is_empty_and_what_is_wrong_is_refused() {
        let read = |of: fn(&mut Fields) -> bool| {
            let mut fields = Fields::from(read(r#"{"a": [1, 2], "b": "text", "c": null, "d": true}"#).unwrap());
            let is_as_expected = of(&mut fields);
            fields.done(is_as_expected)
        };
        let good: [fn(&mut Fields) -> bool; 5] = [
            |fields| fields.text("c").is_empty() && fields.text("b") == "text",
            |fields| fields.list("none", Tree::usize).is_empty(),
            |fields| fields.maybe("c", Tree::usize).is_none(),
            |fields| fields.list("a", Tree::usize) == [1, 2],
            |fields| fields.flag("d") && !fields.flag("c"),
        ];
        assert_eq!(good.map(read), [Some(true); 5]);
        let bad: [fn(&mut Fields) -> bool; 5] = [
            |fields| fields.text("a").is_empty(),
            |fields| fields.list("a", Tree::text).is_empty(),
            |fields| fields.maybe("b", Tree::usize).is_none(),
            |fields| fields.list("b", Tree::usize).is_empty(),
            |fields| fields.flag("b"),
        ];
        assert_eq!(bad.map(read), [None; 5]);
        assert_eq!(Fields::from(Tree::List(Vec::new())).done(()), None);
    }
}
