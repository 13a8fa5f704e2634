use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::terms::{ChannelCoord, ColumnCoord, EditTarget, RowCoord, WeightCoord, edits_at_the_limits};

pub(super) fn link() -> ShareLink {
    let (intact, ablated) = (vec![17, 4000, 3], vec![17, 128_255, u32::MAX]);
    ShareLink {
        setup: RunSetup {
            model: ModelRef::new("linchpin-13m", "0123456789abcdef"),
            prompt: "It was a dark evening, and the old man — “née” 暗い".into(),
            sampling: Sampling { temperature: 0.7, top_k: 40, top_p: 0.95, seed: 7, max_new_tokens: 80 },
            ablation: Ablation {
                weight_edits: vec![
                    WeightEdit { target: EditTarget::scalar(2, 12, 86), scale: 0.0 },
                    WeightEdit { target: EditTarget::channel(0, 150), scale: 0.35 },
                    WeightEdit { target: EditTarget::row(0, 1), scale: 3.0 },
                    WeightEdit { target: EditTarget::column(19, 447), scale: 1.05 },
                ],
                ..Ablation::default()
            },
        },
        digest: outcome_digest(&intact, &ablated),
        intact,
        ablated,
        selection: None,
    }
}

/// A link around any JSON, as a hostile author would write it.
fn fragment(json: &str) -> String {
    format!("#run=1.{}", URL_SAFE_NO_PAD.encode(json))
}

/// A valid link with one field of its JSON replaced.
fn with(field: &str, value: &str) -> Result<ShareLink, ShareError> {
    let encoded = link().encode().unwrap();
    let json = URL_SAFE_NO_PAD.decode(encoded.strip_prefix("#run=1.").unwrap()).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json[field] = serde_json::from_str(value).unwrap();
    ShareLink::decode(&fragment(&json.to_string()))
}

/// A valid link with other edits, of the newest version.
fn with_edits(edits: &[WireEdit]) -> Result<ShareLink, ShareError> {
    let json = URL_SAFE_NO_PAD.decode(link().encode().unwrap().strip_prefix("#run=1.").unwrap()).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json["e"] = serde_json::to_value(edits).unwrap();
    ShareLink::decode(&format!("#run=4.{}", URL_SAFE_NO_PAD.encode(json.to_string())))
}

#[test]
fn link_comes_back_as_it_was() {
    let text = link().encode().unwrap();
    assert_eq!(ShareLink::decode(&text), Ok(link()));
    assert_eq!(ShareLink::decode(&text[1..]), Ok(link()));
    assert!(text.len() < 600, "{} bytes: {text}", text.len());
}

#[test]
fn links_of_before_are_read_and_written_as_they_were() {
    assert_eq!(link().encode().unwrap(), BEFORE);
    assert_eq!(ShareLink::decode(BEFORE), Ok(link()));
}

/// The JSON in a link of this version.
fn json_in(link: &str, version: u32) -> serde_json::Value {
    let json = URL_SAFE_NO_PAD.decode(link.strip_prefix(&format!("#run={version}.")).unwrap()).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn link_with_an_added_bos_says_so_and_older_pages_refuse_it() {
    let mut with_bos = link();
    with_bos.setup.model.added_bos = Some(1);
    let text = with_bos.encode().unwrap();
    let json = json_in(&text, LINK_VERSION);
    assert_eq!((&json["o"], ShareLink::decode(&text)), (&1.into(), Ok(with_bos)));
    // A link of a version that knows of no BOS has none, and the newest version is for links that have one.
    assert_eq!(with("o", "1"), Err(ShareError::Damaged));
    let newest = |json: &serde_json::Value| ShareLink::decode(&format!("#run=5.{}", URL_SAFE_NO_PAD.encode(json.to_string())));
    assert_eq!(newest(&json_in(&link().encode().unwrap(), 1)), Err(ShareError::Damaged));
    for (bos, refused) in [
        ("4294967297", ShareError::Index { what: "the BOS", found: (1 << 32) + 1 }),
        ("1048576", ShareError::Index { what: "the BOS", found: 1 << 20 }),
        ("-1", ShareError::Damaged),
        ("1.5", ShareError::Damaged),
        ("\"<s>\"", ShareError::Damaged),
        ("null", ShareError::Damaged),
    ] {
        let mut hostile = json.clone();
        hostile["o"] = serde_json::from_str(bos).unwrap();
        assert_eq!(newest(&hostile), Err(refused), "{bos}");
    }
}

#[test]
fn other_fragments_are_no_runs() {
    for text in ["", "#", "#glossary", "#run", "run", "#Run=1.e30"] {
        assert_eq!(ShareLink::decode(text), Err(ShareError::NoRun), "{text}");
    }
}

#[test]
fn other_versions_are_refused() {
    for version in ["6", "0", "99999999999999999999"] {
        assert!(matches!(ShareLink::decode(&format!("#run={version}.e30")), Err(ShareError::Version { .. })), "{version}");
    }
    for version in ["", "+1", "01", "-1", " 1", "1 ", "1e0", "0x1", "１"] {
        assert_eq!(ShareLink::decode(&format!("#run={version}.e30")), Err(ShareError::Damaged), "{version}");
    }
}

#[test]
fn cut_or_changed_link_is_damaged() {
    let text = link().encode().unwrap();
    for end in FRAGMENT_KEY.len()..text.len() {
        assert!(ShareLink::decode(&text[..end]).is_err(), "cut at {end}");
    }
    for json in ["", "{}", "[]", "null", "{\"m\":1}", "\u{0}"] {
        assert_eq!(ShareLink::decode(&fragment(json)), Err(ShareError::Damaged), "{json}");
    }
    assert_eq!(ShareLink::decode(&fragment(&"[".repeat(5000))), Err(ShareError::Damaged));
    assert_eq!(ShareLink::decode("#run=1.***"), Err(ShareError::Damaged));
}

#[test]
fn sizes_are_capped() {
    let long = format!("#run=1.{}", "A".repeat(MAX_ENCODED_BYTES));
    assert!(matches!(ShareLink::decode(&long), Err(ShareError::TooLong { .. })));
    assert_eq!(with("p", &format!("\"{}\"", "é".repeat(2001))), Err(ShareError::PromptTooLong { found: 2001 }));
    let edits = vec![r#"{"u":"r","l":0,"r":0,"x":0}"#; 65].join(",");
    assert_eq!(with("e", &format!("[{edits}]")), Err(ShareError::TooManyEdits { found: 65 }));
    let ids = pack_ids(&vec![1; 513]);
    assert_eq!(with("a", &format!("\"{ids}\"")), Err(ShareError::TooManyTokens { found: 513 }));
}

#[test]
fn longest_permitted_run_still_fits() {
    let mut link = link();
    link.setup.prompt = "x".repeat(MAX_PROMPT_CHARS);
    link.intact = vec![128_000; MAX_NEW_TOKENS];
    link.ablated = vec![5; MAX_NEW_TOKENS];
    link.digest = outcome_digest(&link.intact, &link.ablated);
    assert_eq!(ShareLink::decode(&link.encode().unwrap()), Ok(link));
}

#[test]
fn model_is_a_name_never_an_address() {
    for id in ["", "../../etc/passwd", "https://example.org/m", "a/b", "a\\\\b", "Über", "A", "a b", "javascript:alert(1)"] {
        assert!(matches!(with("m", &format!("\"{id}\"")), Err(ShareError::ModelId { .. })), "{id}");
    }
    assert!(matches!(with("m", &format!("\"{}\"", "a".repeat(65))), Err(ShareError::ModelId { .. })));
    for revision in ["", "0123", "0123456789ABCDEF", "0123456789abcdeg", "0123456789abcdef0"] {
        assert_eq!(with("r", &format!("\"{revision}\"")), Err(ShareError::Revision), "{revision}");
    }
}

#[test]
fn numbers_are_clamped() {
    assert_eq!(with("t", "99").unwrap().setup.sampling.temperature, 5.0);
    assert_eq!(with("t", "-3").unwrap().setup.sampling.temperature, 0.0);
    assert_eq!(with("t", "1e300").unwrap().setup.sampling.temperature, 5.0);
    assert_eq!(with("n", "2").unwrap().setup.sampling.top_p, 1.0);
    assert_eq!(with("x", "0").unwrap().setup.sampling.max_new_tokens, 1);
    assert_eq!(with("x", "100000").unwrap().setup.sampling.max_new_tokens, 512);
}

#[test]
fn scales_are_refused_rather_than_changed() {
    let scale = |x: &str| with("e", &format!(r#"[{{"u":"r","l":0,"r":0,"x":{x}}}]"#));
    assert_eq!(scale("-3").unwrap().setup.ablation.weight_edits[0].scale, -3.0);
    assert_eq!(scale("-5"), Err(ShareError::Scale { found: "-5".into() }));
    assert_eq!(scale("50").unwrap_err().to_string(), "the link scales a weight by 50; -3 to 3 are accepted");
    assert_eq!(scale("1e300"), Err(ShareError::Scale { found: "inf".into() }));
}

/// The table that the page and the engine are tried with, too.
#[test]
fn link_takes_every_edit_within_the_limits_and_no_other() {
    for (edit, can) in edits_at_the_limits(Sizes::LARGEST) {
        let mut link = link();
        link.setup.ablation.weight_edits = vec![edit];
        let read = with_edits(&[WireEdit::from(&edit)]);
        assert_eq!(read.is_ok(), can, "{edit:?}: {read:?}");
        let written = link.encode();
        assert_eq!(written.is_ok(), can, "{edit:?}: {written:?}");
        if let Ok(text) = written {
            let version = match edit.scale < 0.0 {
                _ if edit.target.place().expert.is_some() => "#run=4.",
                true => "#run=3.",
                false => "#run=1.",
            };
            assert!(text.starts_with(version), "{edit:?}: {text}");
            assert_eq!((ShareLink::decode(&text), read), (Ok(link.clone()), Ok(link)));
        }
    }
}

#[test]
fn experts_are_of_the_newest_version_only() {
    let mut link = link();
    let at = WeightCoord { expert: Some(5), ..WeightCoord::new(2, 12, 86) };
    link.setup.ablation.weight_edits = vec![WeightEdit { target: at.into(), scale: -1.0 }];
    let text = link.encode().unwrap();
    let json = URL_SAFE_NO_PAD.decode(text.strip_prefix("#run=4.").unwrap()).unwrap();
    assert!(String::from_utf8(json.clone()).unwrap().contains(r#"[{"u":"s","l":2,"o":5,"r":12,"c":86,"x":-1.0}]"#));
    assert_eq!(ShareLink::decode(&text), Ok(link));
    for version in 1..4 {
        let older = format!("#run={version}.{}", URL_SAFE_NO_PAD.encode(&json));
        assert!(ShareLink::decode(&older).is_err(), "version {version} knows of no experts");
    }
    assert_eq!(with("e", r#"[{"u":"s","l":2,"o":65536,"r":12,"c":86,"x":0}]"#), Err(ShareError::Damaged));
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let edit = |l: &str| with("e", &format!(r#"[{{"u":"r","l":{l},"r":0,"x":0}}]"#));
    assert_eq!(edit("1048576"), Err(ShareError::Index { what: "layer", found: 1 << 20 }));
    assert_eq!(edit("-1"), Err(ShareError::Damaged));
    assert_eq!(edit("0.5"), Err(ShareError::Damaged));
    assert_eq!(edit("\"0\""), Err(ShareError::Damaged));
    assert_eq!(with("s", "9007199254740992"), Err(ShareError::Seed));
    assert_eq!(with("t", "null"), Err(ShareError::Damaged));
    assert_eq!(with("e", r#"[{"u":"everything","x":0}]"#), Err(ShareError::Damaged));
    // JSON cannot express infinity, but a number can be too large to hold.
    let text = URL_SAFE_NO_PAD.decode(link().encode().unwrap().strip_prefix("#run=1.").unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap().replace("\"t\":0.7", "\"t\":1e999");
    assert_eq!(ShareLink::decode(&fragment(&text)), Err(ShareError::Damaged));
}

#[test]
fn unknown_fields_are_ignored() {
    assert_eq!(with("url", "\"https://example.org\""), Ok(link()));
}

#[test]
fn tokens_must_fit_the_digest() {
    assert_eq!(with("a", &format!("\"{}\"", pack_ids(&[1]))), Err(ShareError::Digest));
    assert_eq!(with("a", "\"gICAgICA\""), Err(ShareError::Damaged)); // a number that never ends
    assert_eq!(with("a", "\"_____38\""), Err(ShareError::Damaged)); // one above u32::MAX
}

#[test]
fn unreadable_link_is_not_written() {
    let mut too_many = link();
    too_many.setup.ablation.weight_edits = vec![too_many.setup.ablation.weight_edits[0]; 65];
    assert_eq!(too_many.encode(), Err(ShareError::TooManyEdits { found: 65 }));
    let mut infinite = link();
    infinite.setup.sampling.temperature = f32::INFINITY;
    assert!(infinite.encode().is_err());
}

#[test]
fn run_that_was_stopped_is_not_shared() {
    use crate::terms::{BackendInfo, Generated};
    let link = link();
    let pane = |token_ids: &[u32], finish| Generated {
        token_ids: token_ids.to_vec(),
        text: String::new(),
        repetition: 0.0,
        stopword_mass: 0.0,
        tokens_per_sec: 1.0,
        finish,
    };
    let run = |intact, ablated| RunRecord {
        setup: link.setup.clone(),
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "r".into() },
        intact: pane(&link.intact, intact),
        ablated: pane(&link.ablated, ablated),
        first_difference: Some(1),
        pruned: None,
        digest: link.digest.clone(),
    };
    assert_eq!(ShareLink::from_run(&run(Finish::Eos, Finish::Length)), Ok(link.clone()));
    for stopped in [run(Finish::Stopped, Finish::Eos), run(Finish::Length, Finish::Stopped)] {
        assert_eq!(ShareLink::from_run(&stopped), Err(ShareError::Stopped));
    }
}

#[test]
fn comparing_names_the_pane_and_the_token() {
    let link = link();
    assert_eq!(link.compare(&[17, 4000, 3], &[17, 128_255, u32::MAX]), Recomputed::Same);
    assert_eq!(link.compare(&[17, 4000], &[]), Recomputed::Differs { pane: Pane::Intact, index: 2 });
    let bare = ShareLink::of_edits(link.setup.model.clone(), link.setup.ablation.clone(), None).unwrap();
    let read = ShareLink::decode(&bare.encode().unwrap()).unwrap();
    assert_eq!((read.compare(&[17], &[]), read.compare(&[], &[]), &read), (Recomputed::NoClaim, Recomputed::Same, &bare));
    assert_eq!(link.compare(&[17, 4000, 3], &[17, 9]), Recomputed::Differs { pane: Pane::Ablated, index: 1 });
}

#[test]
fn folder_name_becomes_a_model_id() {
    assert_eq!(model_id_from("SmolLM2 135M_Instruct"), "smollm2-135m-instruct");
    assert_eq!(model_id_from("../.."), "my-model");
    assert!(is_model_id(&model_id_from(&"é/".repeat(100))));
}

fn any_target() -> impl Strategy<Value = EditTarget> {
    let at = (0..MAX_INDEX, prop::option::of(any::<u16>()), 0..MAX_INDEX, 0..MAX_INDEX);
    (at, 0..5).prop_map(|((layer, expert, row, col), unit)| match unit {
        0 => EditTarget::Scalar(WeightCoord { layer, expert, row, col }),
        1 => EditTarget::Row(RowCoord { layer, expert, row }),
        2 => EditTarget::Column(ColumnCoord { layer, expert, col }),
        3 => EditTarget::Channel(ChannelCoord { layer, expert, channel: col }),
        _ => EditTarget::ChannelMean(ChannelCoord { layer, expert, channel: col }),
    })
}

proptest! {
    #[test]
    fn every_valid_run_comes_back(
        (id, revision, bos) in ("[a-z0-9.-]{1,64}", "[0-9a-f]{16}", prop::option::of(0..MAX_INDEX as u32)),
        prompt in ".{0,200}",
        edits in prop::collection::vec((any_target(), SCALES), 0..8),
        (temperature, top_k, top_p) in (0.0f32..=5.0, 0..MAX_INDEX, 0.0f32..=1.0),
        (seed, max_new_tokens) in (0..=MAX_SEED, 1..=MAX_NEW_TOKENS),
        intact in prop::collection::vec(any::<u32>(), 0..40),
        ablated in prop::collection::vec(any::<u32>(), 0..40),
    ) {
        let weight_edits = edits.into_iter().map(|(target, scale)| WeightEdit { target, scale }).collect();
        let link = ShareLink {
            setup: RunSetup {
                model: ModelRef { id, revision, added_bos: bos },
                prompt,
                sampling: Sampling { temperature, top_k, top_p, seed, max_new_tokens },
                ablation: Ablation { weight_edits, ..Ablation::default() },
            },
            digest: outcome_digest(&intact, &ablated),
            intact,
            ablated,
            selection: None,
        };
        prop_assert_eq!(ShareLink::decode(&link.encode().unwrap()), Ok(link));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), json in any::<String>()) {
        let _ = ShareLink::decode(&text);
        let _ = ShareLink::decode(&format!("#run={text}"));
        let _ = ShareLink::decode(&format!("#run=1.{text}"));
        let _ = ShareLink::decode(&fragment(&json));
    }

    #[test]
    fn no_packed_ids_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = unpack_ids(&URL_SAFE_NO_PAD.encode(bytes));
    }
}

/// A link as it was written before channels could be removed.
const BEFORE: &str = "#run=1.eyJtIjoibGluY2hwaW4tMTNtIiwiciI6IjAxMjM0NTY3ODlhYmNkZWYiLCJwIjoiSXQgd2FzIGEgZGFyayBldmVuaW5nLCBhbmQgdGhlIG9sZCBtYW4g4oCUIOKAnG7DqWXigJ0g5pqX44GEIiwiZSI6W3sidSI6InMiLCJsIjoyLCJyIjoxMiwiYyI6ODYsIngiOjAuMH0seyJ1IjoiaCIsImwiOjAsImMiOjE1MCwieCI6MC4zNX0seyJ1IjoiciIsImwiOjAsInIiOjEsIngiOjMuMH0seyJ1IjoiYyIsImwiOjE5LCJjIjo0NDcsIngiOjEuMDV9XSwidCI6MC43LCJrIjo0MCwibiI6MC45NSwicyI6NywieCI6ODAsImEiOiJFYUFmQXciLCJiIjoiRWZfcEJfX19fXzhQIiwiZCI6IjIwMjc2YzgyZjNkY2NjMDgifQ";
