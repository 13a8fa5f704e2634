//! The JSON of headers and indices in its original form: with duplicate names (a map would hide them), and no list
//! longer than its limit (25 MB of `[0,0,0,..` would fill the memory of a browser).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MAX_DIMS, MAX_TENSORS, start_of};

const METADATA: &str = "__metadata__";

/// An object's members in their order: the first [`MAX_TENSORS`] of them, and their number.
pub(super) struct Pairs<T> {
    pub(super) kept: Vec<(String, T)>,
    pub(super) n: usize,
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), n: 0 }
    }
}

/// A shape: the first [`MAX_DIMS`] dimensions, and their number.
pub(super) struct Dims {
    pub(super) kept: Vec<u64>,
    pub(super) n: usize,
}

#[derive(serde::Deserialize)]
pub(super) struct RawEntry {
    pub(super) dtype: String,
    pub(super) shape: Dims,
    /// Begin and end, counted from the start of the data.
    pub(super) data_offsets: (u64, u64),
}

pub(super) struct RawHeader {
    pub(super) tensors: Pairs<RawEntry>,
    pub(super) metadata: Pairs<String>,
}

#[derive(serde::Deserialize)]
pub(super) struct RawIndex {
    pub(super) weight_map: Pairs<String>,
}

impl<T> Pairs<T> {
    /// Reads the value of `name`; an error in it includes the name.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: String, object: &mut A) -> Result<(), A::Error>
    where
        T: Deserialize<'de>,
    {
        self.n += 1;
        if self.n > MAX_TENSORS {
            return object.next_value::<IgnoredAny>().map(drop);
        }
        let value = object.next_value().map_err(|error| A::Error::custom(format_args!("{}: {error}", start_of(&name))))?;
        self.kept.push((name, value));
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Pairs::default();
                while let Some(name) = object.next_key()? {
                    pairs.take(name, &mut object)?;
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut tensors = Pairs::default();
                let mut metadata = None;
                while let Some(name) = object.next_key::<String>()? {
                    if name != METADATA {
                        tensors.take(name, &mut object)?;
                    } else if metadata.is_none() {
                        metadata = Some(object.next_value::<Option<_>>()?.unwrap_or_default());
                    } else {
                        return Err(A::Error::duplicate_field(METADATA));
                    }
                }
                Ok(RawHeader { tensors, metadata: metadata.unwrap_or_default() })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut dims = Dims { kept: Vec::new(), n: 0 };
                while dims.n < MAX_DIMS {
                    let Some(dim) = list.next_element()? else { return Ok(dims) };
                    dims.kept.push(dim);
                    dims.n += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    dims.n += 1;
                }
                Ok(dims)
            }
        }

        deserializer.deserialize_seq(Items)
    }
}
