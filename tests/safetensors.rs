//! The header parser: it reads written headers, refuses wrong ones, and never panics.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use linchpin::weights::error::WeightsError as E;
use linchpin::weights::safetensors::{
    Dtype, Header, MAX_DIMS, MAX_HEADER_BYTES, MAX_INDEX_BYTES, MAX_NAME_BYTES, MAX_TENSORS, header_len, parse_header, parse_index,
};
use proptest::prelude::*;
use serde_json::json;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Parses a header before `data_bytes` bytes.
fn parse(header: impl AsRef<[u8]>, data_bytes: u64) -> Result<Header, E> {
    let header = header.as_ref();
    parse_header(header, 8 + header.len() as u64 + data_bytes)
}

/// A header of one tensor called `w`.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// A header of two F32 tensors of four bytes each, at these offsets.
fn two(a: [u64; 2], b: [u64; 2]) -> String {
    let entry = |offsets: [u64; 2]| json!({"dtype": "F32", "shape": [1], "data_offsets": offsets});
    json!({"a": entry(a), "b": entry(b)}).to_string()
}

macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}

// ------------------------------------------------------------------------------------------------- what is accepted

#[test]
fn reads_names_shapes_and_places() {
    let text = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#;
    let header = parse(text, 16).unwrap();
    let start = 8 + text.len() as u64;
    assert_eq!(header.data_start, start);
    assert_eq!(header.metadata, BTreeMap::from([("format".into(), "pt".into())]));
    let (a, b) = (&header.tensors["a"], &header.tensors["b"]);
    assert_eq!((a.dtype, a.shape.as_slice(), a.begin, a.end), (Dtype::F32, &[][..], start, start + 4));
    assert_eq!((b.dtype, b.shape.as_slice(), b.begin, b.end), (Dtype::BF16, &[2, 3][..], start + 4, start + 16));
    assert_eq!((b.name.as_str(), b.n_bytes()), ("b", 12));
}

#[test]
fn reads_empty_tensors_and_empty_files() {
    assert!(parse("{}", 0).unwrap().tensors.is_empty());
    assert!(parse(r#"{"__metadata__":null}"#, 0).unwrap().metadata.is_empty());
    let header = parse(one("F32", "[3,0]", "[0,0]"), 0).unwrap();
    assert_eq!(header.tensors["w"].n_bytes(), 0);
}

#[test]
fn reads_files_that_32_bits_cannot_address() {
    // 2^29 f32 values: neither their bits nor the bytes of two such tensors fit into 32 bits.
    let entry = |begin: u64| json!({"dtype": "F32", "shape": [1 << 15, 1 << 14], "data_offsets": [begin, begin + (1 << 31)]});
    let text = json!({"a": entry(0), "b": entry(1 << 31), "c": entry(1 << 32)}).to_string();
    let header = parse(&text, 3 << 31).unwrap();
    assert_eq!(header.tensors["c"].end, header.data_start + (3 << 31));
}

#[test]
fn dtype_names_are_those_of_the_format() {
    for dtype in Dtype::ALL {
        assert_eq!(Dtype::from_name(&dtype.to_string()), Some(*dtype));
        let bytes = dtype.size_bits(); // eight elements
        let header = parse(one(dtype.name(), "[8]", &format!("[0,{bytes}]")), bytes).unwrap();
        assert_eq!(header.tensors["w"].dtype, *dtype);
    }
}

/// The reference implementation wrote the fixtures: both must read the same bytes under the same names.
#[test]
fn reads_every_fixture_as_the_reference_does() {
    let mut n_files = 0;
    for folder in fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "safetensors") {
                assert_same_as_reference(&fs::read(file).unwrap());
                n_files += 1;
            }
        }
    }
    assert!(n_files >= 15, "{n_files} files");
}

fn assert_same_as_reference(file: &[u8]) {
    let reference = ::safetensors::SafeTensors::deserialize(file).unwrap();
    let header = parse_file(file).unwrap();
    assert_eq!(header.tensors.len(), reference.len());
    for (name, view) in reference.tensors() {
        let entry = &header.tensors[&name];
        assert_eq!(entry.dtype.to_string(), view.dtype().to_string());
        assert_eq!(entry.shape, view.shape());
        assert_eq!(&file[entry.begin as usize..entry.end as usize], view.data());
    }
}

fn parse_file(file: &[u8]) -> Result<Header, E> {
    let len = header_len(file[..8].try_into().unwrap(), file.len() as u64)? as usize;
    parse_header(&file[8..8 + len], file.len() as u64)
}

#[test]
fn reads_the_index_of_a_sharded_checkpoint() {
    let folder = Path::new(FIXTURES).join("mistral");
    let index = parse_index(&fs::read(folder.join("model.safetensors.index.json")).unwrap()).unwrap();
    assert!(index.len() > 20);
    for (name, file) in &index {
        assert!(parse_file(&fs::read(folder.join(file)).unwrap()).unwrap().tensors.contains_key(name));
    }
}

// -------------------------------------------------------------------------------------------------- hostile headers

#[test]
fn truncated_file() {
    let file = fs::read(Path::new(FIXTURES).join("llama/model.safetensors")).unwrap();
    refused!(parse_file(&file[..file.len() - 1]), E::TooShort { expected, got } if expected == got + 1);
    refused!(parse_file(&file[..100]), E::TooShort { got: 100, .. });
    refused!(parse_file(&file[..8]), E::TooShort { got: 8, .. });
}

#[test]
fn header_length_that_lies() {
    refused!(header_len(&u64::MAX.to_le_bytes(), u64::MAX), E::HeaderTooLong { got: u64::MAX, .. });
    refused!(header_len(&(MAX_HEADER_BYTES + 1).to_le_bytes(), u64::MAX), E::HeaderTooLong { .. });
    refused!(header_len(&100u64.to_le_bytes(), 107), E::TooShort { expected: 108, got: 107 });
    refused!(header_len(&0u64.to_le_bytes(), 3), E::TooShort { expected: 8, got: 3 });
    assert_eq!(header_len(&MAX_HEADER_BYTES.to_le_bytes(), u64::MAX).unwrap(), MAX_HEADER_BYTES);
    let mut file = fs::read(Path::new(FIXTURES).join("llama/model.safetensors")).unwrap();
    let len = u64::from_le_bytes(file[..8].try_into().unwrap());
    for lie in [0, 1, len / 2, len + 1, len + 1000] {
        file[..8].copy_from_slice(&lie.to_le_bytes());
        refused!(parse_file(&file), E::HeaderJson { .. } | E::HeaderUtf8 { .. } | E::TooShort { .. });
    }
}

#[test]
fn overlapping_tensors() {
    refused!(parse(two([0, 4], [2, 6]), 6), E::Overlap { name, expected: 4, got: 2 } if name == "b");
    refused!(parse(two([0, 4], [0, 4]), 4), E::Overlap { expected: 4, got: 0, .. });
}

#[test]
fn holes() {
    refused!(parse(two([0, 4], [5, 9]), 9), E::Hole { name, expected: 4, got: 5 } if name == "b");
    refused!(parse(two([1, 5], [5, 9]), 9), E::Hole { name, expected: 0, got: 1 } if name == "a");
    refused!(parse(two([0, 4], [4, 8]), 9), E::TooLong { expected, got } if got == expected + 1);
    refused!(parse("{}", 1), E::TooLong { .. });
}

#[test]
fn oversized_dims() {
    refused!(parse(one("U8", "[9223372036854775808,2]", "[0,0]"), 0), E::ShapeOverflow { .. });
    refused!(parse(one("F64", "[1152921504606846976]", "[0,0]"), 0), E::ShapeOverflow { .. });
    refused!(parse(one("U8", "[1000000000000]", "[0,1]"), 1), E::Size { expected: 1_000_000_000_000, got: 1, .. });
    refused!(parse(one("U8", "[18446744073709551615]", "[0,18446744073709551615]"), 1), E::ShapeOverflow { .. });
    refused!(parse(one("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), E::TooManyDims { got: 9, max: MAX_DIMS, .. });
    let many = format!("[{}1]", "1,".repeat(1_000_000));
    refused!(parse(one("U8", &many, "[0,1]"), 1), E::TooManyDims { got: 1_000_001, .. });
}

#[test]
fn size_that_contradicts_the_shape() {
    refused!(parse(one("F32", "[2]", "[0,4]"), 4), E::Size { expected: 8, got: 4, .. });
    refused!(parse(one("F32", "[]", "[0,0]"), 0), E::Size { expected: 4, got: 0, .. });
    refused!(parse(one("F4", "[3]", "[0,2]"), 2), E::PartialByte { bits: 12, .. });
}

#[test]
fn duplicate_keys() {
    let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused!(parse(format!(r#"{{"w":{entry},"w":{entry}}}"#), 1), E::DuplicateName { name } if name == "w");
    refused!(parse(format!(r#"{{"w":{entry},"\u0077":{entry}}}"#), 1), E::DuplicateName { name } if name == "w");
    refused!(parse(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), E::HeaderJson { .. });
    refused!(parse(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), E::DuplicateName { name } if name == "k");
    let twice = r#"{"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
    refused!(parse(twice, 1), E::HeaderJson { .. });
}

#[test]
fn not_utf8() {
    refused!(parse(b"{\"\xff\":{}}", 0), E::HeaderUtf8 { position: 2 });
    let skipped = b"{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":\"\xc3\x28\"}}";
    refused!(parse(skipped, 1), E::HeaderUtf8 { .. });
}

#[test]
fn negative_numbers() {
    refused!(parse(one("U8", "[1]", "[-1,0]"), 1), E::HeaderJson { .. });
    refused!(parse(one("U8", "[-1]", "[0,1]"), 1), E::HeaderJson { .. });
    refused!(parse(one("U8", "[0]", "[-0,0]"), 0), E::HeaderJson { .. });
}

#[test]
fn huge_numbers() {
    refused!(parse(one("U8", "[1]", "[18446744073709551616,18446744073709551617]"), 1), E::HeaderJson { .. });
    refused!(parse(one("U8", "[1]", "[0,1e400]"), 1), E::HeaderJson { .. });
    refused!(parse(one("U8", "[1.0]", "[0,1]"), 1), E::HeaderJson { .. });
    refused!(parse(one("U8", "[1]", "[18446744073709551614,18446744073709551615]"), 1), E::OffsetOverflow { end: u64::MAX, .. });
    refused!(parse(one("U8", "[1]", "[9223372036854775807,9223372036854775808]"), 1), E::Hole { .. });
}

#[test]
fn reversed_offsets() {
    refused!(parse(one("U8", "[1]", "[1,0]"), 1), E::ReversedOffsets { begin: 1, end: 0, .. });
}

#[test]
fn unknown_dtype() {
    refused!(parse(one("Q4_K", "[1]", "[0,1]"), 1), E::UnknownDtype { name, got } if name == "w" && got == "Q4_K");
    refused!(parse(one(&"F".repeat(10_000), "[1]", "[0,1]"), 1), E::UnknownDtype { got, .. } if got.len() == 40);
}

#[test]
fn not_a_header_at_all() {
    refused!(parse("", 0), E::TooShort { .. });
    refused!(parse(" {}", 0), E::HeaderStart { got: b' ' });
    refused!(parse("[]", 0), E::HeaderStart { got: b'[' });
    refused!(parse(b"PK\x03\x04", 100), E::HeaderStart { got: b'P' });
    for text in ["{", "{}{}", "{}\0", r#"{"w":1}"#, r#"{"w":{}}"#, r#"{"w":null}"#, r#"{"__metadata__":{"k":1}}"#] {
        refused!(parse(text, 0), E::HeaderJson { .. });
    }
    for offsets in ["[0]", "[0,1,2]", "{}", "null", "\"\""] {
        refused!(parse(one("U8", "[1]", offsets), 1), E::HeaderJson { .. });
    }
    let deep = format!(r#"{{"w":{{"x":{}"#, "[".repeat(1_000_000));
    refused!(parse(deep, 0), E::HeaderJson { .. });
}

#[test]
fn too_much_of_everything() {
    refused!(parse_header(&vec![b' '; 1 + MAX_HEADER_BYTES as usize], u64::MAX), E::HeaderTooLong { .. });
    let name = "n".repeat(MAX_NAME_BYTES + 1);
    refused!(parse(one("U8", "[1]", "[0,1]").replace('w', &name), 1), E::NameTooLong { got, .. } if got == name.len());
    let entries = (0..=MAX_TENSORS).map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#));
    let text = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    refused!(parse(text, 0), E::TooManyTensors { got, .. } if got == MAX_TENSORS + 1);
}

#[test]
fn messages_name_the_tensor_and_stay_short() {
    let message = |result: Result<Header, E>| result.unwrap_err().to_string();
    let negative = message(parse(one("U8", "[1]", "[-1,0]").replace('w', "model.norm.weight"), 1));
    assert!(negative.contains("model.norm.weight") && negative.contains("-1"), "{negative}");
    let long = message(parse(one("U8", "[1]", "[-1,0]").replace('w', &"n".repeat(1_000_000)), 1));
    assert!(long.len() < 300, "{long}");
    assert_eq!(message(parse(two([0, 4], [5, 9]), 9)), "the data begins at 5, leaving a hole after 4: tensor b");
}

// --------------------------------------------------------------------------------------------------- hostile indices

#[test]
fn index_that_leads_elsewhere() {
    let index = |file: &str| parse_index(json!({"weight_map": {"w": file}}).to_string().as_bytes());
    assert_eq!(index("model-00001-of-00002.safetensors").unwrap()["w"], "model-00001-of-00002.safetensors");
    for file in [
        "../model.safetensors",
        "/etc/model.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "C:model.safetensors",
        "..safetensors",
        ".safetensors",
        "a..safetensors",
        "https://host/x.safetensors",
        "a%2fb.safetensors",
        "a?b.safetensors",
        "a#.safetensors",
        "modèle.safetensors",
        "model.bin",
        "model.safetensors ",
        "a\0.safetensors",
        "",
    ] {
        refused!(index(file), E::ShardName { .. });
    }
    refused!(index(&format!("{}.safetensors", "a".repeat(300))), E::ShardName { file, .. } if file.len() == 40);
}

#[test]
fn index_that_is_none() {
    refused!(parse_index(b"{}"), E::IndexJson { .. });
    refused!(parse_index(b""), E::IndexJson { .. });
    refused!(parse_index(br#"{"weight_map":{}}"#), E::EmptyIndex);
    refused!(parse_index(br#"{"weight_map":{"w":1}}"#), E::IndexJson { .. });
    refused!(parse_index(br#"{"weight_map":{"w":"a.safetensors","w":"b.safetensors"}}"#), E::DuplicateName { .. });
    refused!(parse_index(b"{\"weight_map\":{\"\xff\":\"a.safetensors\"}}"), E::IndexJson { .. });
    refused!(parse_index(&vec![b' '; MAX_INDEX_BYTES + 1]), E::IndexTooLong { .. });
}

// -------------------------------------------------------------------------------------------------------- properties

/// A tensor to write: name, dtype, shape.
type Plan = (String, Dtype, Vec<u64>);

fn plans(count: Range<usize>) -> impl Strategy<Value = Vec<Plan>> {
    let dtype = prop::sample::select(Dtype::ALL.to_vec());
    let shape = prop::collection::vec(0u64..5, 0..=3);
    let whole = (dtype, shape).prop_filter("whole bytes", |(dtype, shape)| n_bits(*dtype, shape).is_multiple_of(8));
    prop::collection::btree_map("[a-z.0-9\"\\\\ é]{0,12}", whole, count)
        .prop_map(|map| map.into_iter().map(|(name, (dtype, shape))| (name, dtype, shape)).collect::<Vec<_>>())
        .prop_shuffle()
}

fn n_bits(dtype: Dtype, shape: &[u64]) -> u64 {
    shape.iter().product::<u64>() * dtype.size_bits()
}

/// The header of these tensors side by side in this order, and their number of bytes.
fn write(plans: &[Plan]) -> (serde_json::Map<String, serde_json::Value>, u64) {
    let (mut entries, mut begin) = (serde_json::Map::new(), 0);
    for (name, dtype, shape) in plans {
        let end = begin + n_bits(*dtype, shape) / 8;
        entries.insert(name.clone(), json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    (entries, begin)
}

/// Whole file: prefix, header, `data_bytes` zeros.
fn file_of(header: &[u8], data_bytes: u64) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.resize(file.len() + data_bytes as usize, 0);
    file
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..40, Just(u64::MAX), Just(1 << 63), Just(1 << 32), any::<u64>()]
}

proptest! {
    #[test]
    fn tensors_and_metadata_are_read_as_they_were_written(plans in plans(0..8), metadata in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4), padding in 0usize..9) {
        let (mut entries, data_bytes) = write(&plans);
        entries.insert("__metadata__".into(), json!(metadata));
        let text = serde_json::Value::Object(entries).to_string() + &" ".repeat(padding);
        let header = parse(&text, data_bytes).unwrap();
        prop_assert_eq!(&header.metadata, &metadata);
        prop_assert_eq!(header.tensors.len(), plans.len());
        let mut at = header.data_start;
        for (name, dtype, shape) in &plans {
            let entry = &header.tensors[name];
            prop_assert_eq!((&entry.name, entry.dtype, entry.begin), (name, *dtype, at));
            prop_assert!(entry.shape.iter().map(|dim| *dim as u64).eq(shape.iter().copied()));
            at = entry.end;
        }
        prop_assert_eq!(at, 8 + text.len() as u64 + data_bytes);
        assert_same_as_reference(&file_of(text.as_bytes(), data_bytes));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), len in any::<u64>(), prefix in any::<[u8; 8]>()) {
        let _ = (header_len(&prefix, len), parse_header(&bytes, len), parse_index(&bytes));
        let mut almost = b"{\"w\":{\"dtype\":\"".to_vec();
        almost.extend(bytes);
        let _ = (parse_header(&almost, len), parse_index(&almost));
    }

    /// A few bytes of a good file are overwritten. The reference accepts every file that is still accepted.
    #[test]
    fn damaged_files_are_refused_wherever_the_reference_does(plans in plans(0..8), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (entries, data_bytes) = write(&plans);
        let mut file = file_of(serde_json::Value::Object(entries).to_string().as_bytes(), data_bytes);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if parse_file(&file).is_ok() {
            assert_same_as_reference(&file);
        }
    }

    /// One number of a good header is replaced. Both implementations reach the same verdict (on 64 bits).
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn lying_numbers_are_refused_exactly_where_the_reference_does(plans in plans(1..8), which in any::<prop::sample::Index>(), field in 0usize..3, lie in number()) {
        let (mut entries, data_bytes) = write(&plans);
        let entry = entries.values_mut().nth(which.index(plans.len())).unwrap();
        match field {
            0 | 1 => entry["data_offsets"][field] = json!(lie),
            _ => entry["shape"].as_array_mut().unwrap().push(json!(lie)),
        }
        let file = file_of(serde_json::Value::Object(entries).to_string().as_bytes(), data_bytes);
        prop_assert_eq!(parse_file(&file).is_ok(), ::safetensors::SafeTensors::deserialize(&file).is_ok());
    }
}
