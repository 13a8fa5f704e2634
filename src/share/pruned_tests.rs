use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::super::{Finish, RunRecord, ShareLink};
use super::*;
use crate::terms::{BackendInfo, Calibration, Generated};

fn pruning() -> Pruning {
    let pick = Pick::Lowest { by: Ranking::Protected, share: 0.2 };
    Pruning { selection: Selection::new(pick), replacement: Replacement::Zero }
}

fn selection() -> LinkedSelection {
    LinkedSelection { sequences: 64, length: 512, text_digest: "1f0fb13533b89c91".into(), digest: "d37c6d3f02094f4a".into() }
}

fn link() -> ShareLink {
    let mut link = super::super::tests::link();
    (link.setup.ablation.pruning, link.selection) = (Some(pruning()), Some(selection()));
    link
}

fn fragment(version: u32, json: &serde_json::Value) -> String {
    format!("#run={version}.{}", URL_SAFE_NO_PAD.encode(json.to_string()))
}

fn json(link: &ShareLink) -> serde_json::Value {
    let encoded = link.encode().unwrap();
    let (_, body) = encoded.split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

/// A valid link with one field of its pruning replaced.
fn with(field: &str, value: &str) -> Result<ShareLink, ShareError> {
    let mut json = json(&link());
    json["c"][field] = serde_json::from_str(value).unwrap();
    ShareLink::decode(&fragment(2, &json))
}

#[test]
fn format_stays_as_it_is() {
    let text = link().encode().unwrap();
    assert_eq!(
        json(&link())["c"].to_string(),
        r#"{"b":"p","d":"d37c6d3f02094f4a","e":"0.1","k":"l","n":64,"p":"z","q":"0.2","r":"0.01","s":1,"t":512,"x":"1f0fb13533b89c91"}"#
    );
    assert_eq!(text, PINNED);
    assert_eq!(ShareLink::decode(PINNED), Ok(link()));
}

#[test]
fn only_links_that_remove_channels_are_of_the_new_version() {
    assert!(link().encode().unwrap().starts_with("#run=2."));
    assert!(super::super::tests::link().encode().unwrap().starts_with("#run=1."));
    assert_eq!(ShareLink::decode(&fragment(1, &json(&link()))), Err(ShareError::Misfit { removes: true }));
    let mut negative = link();
    negative.setup.ablation.weight_edits[0].scale = -1.5;
    let text = negative.encode().unwrap();
    assert!(text.starts_with("#run=3."), "an older page would recompute it at 0");
    assert_eq!(ShareLink::decode(&text), Ok(negative));
    let plain = json(&super::super::tests::link());
    assert_eq!(ShareLink::decode(&fragment(2, &plain)), Err(ShareError::Misfit { removes: false }));
    assert_eq!(
        ShareError::Misfit { removes: true }.to_string(),
        "the link is of a version that knows of no removed channels, and it names some: it was changed on the way"
    );
}

#[test]
fn numbers_are_refused_rather_than_changed() {
    for (field, what, texts) in [
        ("r", "the core", ["0", "1", "-0.1", "nan", "inf"]),
        ("e", "the halo", ["0", "1.01", "-1", "NaN", "-inf"]),
        ("q", "the share to remove", ["-0.1", "1.5", "1e999", "nan", "inf"]),
    ] {
        for text in texts {
            let refused = with(field, &format!("\"{text}\""));
            assert!(matches!(&refused, Err(ShareError::Share { what: of, found, .. }) if *of == what && found == text), "{refused:?}");
        }
        for value in ["0.5", "null", "\"\"", "\"a half\"", "[]"] {
            assert_eq!(with(field, value), Err(ShareError::Damaged), "{field} {value}");
        }
    }
    for (value, found) in [("0", 0), ("100001", 100_001)] {
        let refused = Err(ShareError::Count { what: "sequences", found, least: 1, most: 100_000 });
        assert_eq!(with("n", value), refused);
    }
    for (value, found) in [("1", 1), ("1048577", 1_048_577), ("18446744073709551615", u64::MAX)] {
        let refused = Err(ShareError::Count { what: "tokens to a sequence", found, least: 2, most: MAX_INDEX });
        assert_eq!(with("t", value), refused);
    }
    assert_eq!(with("l", "1048576"), Err(ShareError::Index { what: "layer", found: 1 << 20 }));
    for (value, found) in [("0", 0), ("1048576", 1 << 20)] {
        assert_eq!(with("w", value), Err(ShareError::Support { found }));
    }
    assert_eq!(with("s", "9007199254740992"), Err(ShareError::Seed));
    for field in ["n", "t", "l", "w", "s"] {
        assert_eq!(with(field, "-1"), Err(ShareError::Damaged), "{field}");
        assert_eq!(with(field, "1.5"), Err(ShareError::Damaged), "{field}");
    }
}

#[test]
fn words_that_nobody_knows_are_refused() {
    for field in ["k", "b", "p"] {
        for value in ["\"everything\"", "\"L\"", "null", "{}"] {
            assert_eq!(with(field, value), Err(ShareError::Damaged), "{field} {value}");
        }
    }
    for field in ["x", "d"] {
        for digest in ["", "d37c6d3f02094f4", "D37C6D3F02094F4A", "../../etc/passwd"] {
            assert_eq!(with(field, &format!("\"{digest}\"")), Err(ShareError::SelectionDigest), "{field} {digest}");
        }
    }
    let mut json = json(&link());
    json["c"] = "l".into();
    assert_eq!(ShareLink::decode(&fragment(2, &json)), Err(ShareError::Damaged));
}

#[test]
fn unreadable_link_is_not_written() {
    let mut whole = link();
    whole.setup.ablation.pruning.as_mut().unwrap().selection.rho = 1.0;
    assert!(matches!(whole.encode(), Err(ShareError::Share { what: "the core", .. })));
    let (mut without, mut idle) = (link(), link());
    without.selection = None;
    idle.setup.ablation.pruning = None;
    for half in [without, idle] {
        assert_eq!(half.encode(), Err(ShareError::Pruning));
    }
    let mut unnamed = link();
    unnamed.selection.as_mut().unwrap().text_digest.clear();
    assert_eq!(unnamed.encode(), Err(ShareError::SelectionDigest));
}

#[test]
fn run_tells_its_link_what_was_scored_and_not_what_was_asked_for() {
    let link = link();
    let pane = |token_ids: &[u32]| Generated {
        token_ids: token_ids.to_vec(),
        text: String::new(),
        repetition: 0.0,
        stopword_mass: 0.0,
        tokens_per_sec: 1.0,
        finish: Finish::Length,
    };
    let calibration = Calibration {
        convention: "c".into(),
        text_digest: selection().text_digest,
        length: 512,
        n_sequences: 64,
        n_requested: 5000,
        n_tokens: 64 * 512,
        loss_nats: 3.0,
    };
    let mut run = RunRecord {
        setup: link.setup.clone(),
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "r".into() },
        intact: pane(&link.intact),
        ablated: pane(&link.ablated),
        first_difference: Some(1),
        pruned: Some(Pruned::of(pruning(), calibration, &[vec![7, 5], vec![], vec![86]])),
        digest: link.digest.clone(),
    };
    assert_eq!(ShareLink::from_run(&run), Ok(link));
    let pruned = run.pruned.take();
    assert_eq!(ShareLink::from_run(&run), Err(ShareError::Pruning));
    (run.pruned, run.setup.ablation.pruning) = (pruned, None);
    assert_eq!(ShareLink::from_run(&run), Err(ShareError::Pruning));
}

fn any_pick() -> impl Strategy<Value = Pick> {
    let ranked = || (prop::sample::select(Ranking::ALL.to_vec()), 0.0f64..=1.0);
    prop_oneof![
        Just(Pick::Core),
        Just(Pick::Halo),
        Just(Pick::Matched),
        Just(Pick::Random),
        ranked().prop_map(|(by, share)| Pick::Lowest { by, share }),
        ranked().prop_map(|(by, share)| Pick::Highest { by, share }),
    ]
}

proptest! {
    #[test]
    fn every_valid_pruning_comes_back(
        (pick, rho, eta) in (any_pick(), f64::MIN_POSITIVE..1.0, f64::MIN_POSITIVE..=1.0),
        (support, layer) in (prop::option::of(1..MAX_INDEX), prop::option::of(0..MAX_INDEX)),
        (seed, is_mean) in (0..=MAX_SEED, any::<bool>()),
        (sequences, length) in (1..=MAX_SEQUENCES, 2..=MAX_INDEX),
        (text_digest, digest) in ("[0-9a-f]{16}", "[0-9a-f]{16}"),
    ) {
        let replacement = if is_mean { Replacement::Mean } else { Replacement::Zero };
        let mut link = link();
        link.setup.ablation.pruning = Some(Pruning { selection: Selection { pick, rho, eta, support, layer, seed }, replacement });
        link.selection = Some(LinkedSelection { sequences, length, text_digest, digest });
        prop_assert_eq!(ShareLink::decode(&link.encode().unwrap()), Ok(link));
    }

    #[test]
    fn no_pruning_makes_it_panic(pruning in any::<String>(), text in any::<String>()) {
        let mut json = json(&link());
        let _ = ShareLink::decode(&format!("#run=2.{text}"));
        json["c"] = serde_json::from_str(&pruning).unwrap_or_else(|_| pruning.into());
        let _ = ShareLink::decode(&fragment(2, &json));
    }
}

/// A link in its first written form.
const PINNED: &str = "#run=2.eyJtIjoibGluY2hwaW4tMTNtIiwiciI6IjAxMjM0NTY3ODlhYmNkZWYiLCJwIjoiSXQgd2FzIGEgZGFyayBldmVuaW5nLCBhbmQgdGhlIG9sZCBtYW4g4oCUIOKAnG7DqWXigJ0g5pqX44GEIiwiZSI6W3sidSI6InMiLCJsIjoyLCJyIjoxMiwiYyI6ODYsIngiOjAuMH0seyJ1IjoiaCIsImwiOjAsImMiOjE1MCwieCI6MC4zNX0seyJ1IjoiciIsImwiOjAsInIiOjEsIngiOjMuMH0seyJ1IjoiYyIsImwiOjE5LCJjIjo0NDcsIngiOjEuMDV9XSwiYyI6eyJrIjoibCIsImIiOiJwIiwicSI6IjAuMiIsInIiOiIwLjAxIiwiZSI6IjAuMSIsInMiOjEsInAiOiJ6IiwibiI6NjQsInQiOjUxMiwieCI6IjFmMGZiMTM1MzNiODljOTEiLCJkIjoiZDM3YzZkM2YwMjA5NGY0YSJ9LCJ0IjowLjcsImsiOjQwLCJuIjowLjk1LCJzIjo3LCJ4Ijo4MCwiYSI6IkVhQWZBdyIsImIiOiJFZl9wQl9fX19fOFAiLCJkIjoiMjAyNzZjODJmM2RjY2MwOCJ9";
