//! JSON as a tree, and by hand from there: a page that reads tables, plots and settings in this way is 8 KB smaller to download
//! than with a derived reader for each of them.
//!
//! What is absent is empty, what is of another kind is refused, and so is what lies deeper than anything of ours.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// No document of ours is deeper; one of a stranger's could exhaust the stack.
const MAX_DEPTH: u8 = 12;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
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

    /// Takes a field out of a map.
    pub(crate) fn take(&mut self, name: &str) -> Self {
        let Self::Map(fields) = self else { return Self::Nothing };
        let found = fields.iter().position(|(key, _)| key == name);
        found.map_or(Self::Nothing, |at| std::mem::replace(&mut fields[at].1, Self::Nothing))
    }

    /// What may be absent.
    pub(crate) fn maybe<T>(self, of: fn(Self) -> Option<T>) -> Option<Option<T>> {
        if self == Self::Nothing { Some(None) } else { of(self).map(Some) }
    }

    pub(crate) fn list<T>(self, of: fn(Self) -> Option<T>) -> Option<Vec<T>> {
        match self {
            Self::Nothing => Some(Vec::new()),
            Self::List(items) => items.into_iter().map(of).collect(),
            _ => None,
        }
    }

    /// Two of them.
    pub(crate) fn pair(self) -> Option<[Self; 2]> {
        if let Self::List(items) = self { items.try_into().ok() } else { None }
    }

    pub(crate) fn number(self) -> Option<f64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub(crate) fn f32(self) -> Option<f32> {
        self.number().map(|number| number as f32)
    }

    /// A whole number as JavaScript has them.
    pub(crate) fn u64(self) -> Option<u64> {
        self.number().filter(|number| (0.0..9_007_199_254_740_992.0).contains(number) && number.fract() == 0.0).map(|number| number as u64)
    }

    pub(crate) fn usize(self) -> Option<usize> {
        self.u64()?.try_into().ok()
    }

    pub(crate) fn u32(self) -> Option<u32> {
        self.u64()?.try_into().ok()
    }

    /// Absent is empty.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing => Some(String::new()),
            _ => None,
        }
    }

    pub(crate) fn flag(self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(flag),
            Self::Nothing => Some(false),
            _ => None,
        }
    }
}

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
        assert_eq!(["-1", "0.5", "9007199254740992", "\"7\"", "null"].map(whole), [None; 5]);
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
        let mut tree = read(r#"{"a": [1, 2], "b": "text", "c": null}"#).unwrap();
        assert_eq!(tree.take("c").text(), Some(String::new()));
        assert_eq!(tree.take("d").list(Tree::usize), Some(Vec::new()));
        assert_eq!(tree.take("d").maybe(Tree::usize), Some(None));
        assert_eq!(tree.clone().take("b").list(Tree::usize), None);
        assert_eq!(tree.take("b").maybe(Tree::usize), None);
        assert_eq!(tree.take("a").list(Tree::usize), Some(vec![1, 2]));
    }
}
