use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::share::{MAX_ENCODED_BYTES, ShareLink};
use crate::terms::{BackendInfo, ExperimentKind, LimitError, MAX_INDEX, OnTasks, OnText, Scaling, SettingId, Settings, WeightCoord};

fn text(name: &str) -> TextRef {
    TextRef { name: name.into(), digest: "0123456789abcdef".into() }
}

fn link() -> ExperimentLink {
    let settings = Scaling {
        text: OnText { text: Some(text("held-out 1")), ..OnText::default() },
        tasks: OnTasks { tasks: vec![text("arc_easy")], limit: Some(50), ..OnTasks::default() },
        ..Scaling::default()
    };
    let experiment = Experiment::new(Settings::Scaling(settings), vec![WeightCoord::new(2, 12, 86)]);
    let figure = |name: &str, value| Headline { name: name.into(), value };
    ExperimentLink {
        model: ModelRef::new("linchpin-13m", "fedcba9876543210"),
        experiment,
        headline: vec![figure("loss/factor_1", 3.5), figure("collapse_threshold", 0.25)],
    }
}

fn outcome() -> Outcome {
    let ExperimentLink { model, experiment, headline } = link();
    Outcome {
        experiment,
        model,
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "r".into() },
        software: String::new(),
        convention: None,
        findings: Vec::new(),
        headline,
        tables: Vec::new(),
        plots: Vec::new(),
        is_partial: false,
    }
}

fn fragment(json: &str) -> String {
    format!("#try=2.{}", URL_SAFE_NO_PAD.encode(json))
}

/// A valid link with one field of its JSON replaced; a path of two names is a field of the experiment.
fn with(path: &str, value: &str) -> Result<ExperimentLink, ShareError> {
    let encoded = link().encode().unwrap();
    let json = URL_SAFE_NO_PAD.decode(encoded.strip_prefix("#try=2.").unwrap()).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let value = serde_json::from_str(value).unwrap();
    match path.split_once('.') {
        Some((outer, inner)) => json[outer][inner] = value,
        None => json[path] = value,
    }
    ExperimentLink::decode(&fragment(&json.to_string()))
}

#[test]
fn link_comes_back_as_it_was() {
    let text = link().encode().unwrap();
    assert_eq!(ExperimentLink::decode(&text), Ok(link()));
    assert_eq!(ExperimentLink::decode(&text[1..]), Ok(link()));
    assert!(text.len() < 900, "{} bytes: {text}", text.len());
    assert_eq!(ExperimentLink::from_outcome(&outcome()), Ok(link()));
    assert_eq!(ExperimentLink::from_outcome(&Outcome { is_partial: true, ..outcome() }), Err(ShareError::Stopped));
}

#[test]
fn link_with_an_added_bos_says_so_and_older_pages_refuse_it() {
    let mut with_bos = link();
    with_bos.model.added_bos = Some(1);
    let text = with_bos.encode().unwrap();
    assert!(text.starts_with("#try=3."), "{text}");
    assert_eq!(ExperimentLink::decode(&text), Ok(with_bos));
    assert_eq!(with("o", "1"), Err(ShareError::Damaged));
    let newest = |bos: serde_json::Value| {
        let json = URL_SAFE_NO_PAD.decode(text.strip_prefix("#try=3.").unwrap()).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["o"] = bos;
        ExperimentLink::decode(&format!("#try=3.{}", URL_SAFE_NO_PAD.encode(json.to_string())))
    };
    assert_eq!(newest((1 << 20).into()), Err(ShareError::Index { what: "the BOS", found: 1 << 20 }));
    for hostile in [serde_json::Value::Null, "<s>".into(), (-1).into()] {
        assert_eq!(newest(hostile), Err(ShareError::Damaged));
    }
}

#[test]
fn both_kinds_of_links_are_told_apart() {
    assert_eq!(ExperimentLink::decode("#run=1.e30"), Err(ShareError::NoRun));
    assert_eq!(ShareLink::decode(&link().encode().unwrap()), Err(ShareError::NoRun));
    assert_eq!(ExperimentLink::decode("#experiments"), Err(ShareError::NoRun));
    for version in ["4", "0", "99999999999999999999"] {
        assert!(matches!(ExperimentLink::decode(&format!("#try={version}.e30")), Err(ShareError::Version { newest: 3, .. })), "{version}");
    }
    for version in ["", "+1", "01", "-1", " 1", "1 ", "1e0", "0x1", "１"] {
        assert_eq!(ExperimentLink::decode(&format!("#try={version}.e30")), Err(ShareError::Damaged), "{version}");
    }
}

#[test]
fn cut_or_changed_link_is_damaged() {
    let text = link().encode().unwrap();
    for end in TRY_KEY.len()..text.len() {
        assert!(ExperimentLink::decode(&text[..end]).is_err(), "cut at {end}");
    }
    for json in ["", "{}", "[]", "null", "{\"m\":1}", "\u{0}", &"[".repeat(5000), &format!("{{\"e\":{}", "{\"a\":".repeat(900))] {
        assert_eq!(ExperimentLink::decode(&fragment(json)), Err(ShareError::Damaged), "{json}");
    }
    for (path, value) in
        [("e.kind", "\"everything\""), ("e.factors", "\"0\""), ("e.n_blocks", "0.5"), ("e.item_seed", "-1"), ("h", "{}"), ("e", "[]")]
    {
        assert_eq!(with(path, value), Err(ShareError::Damaged), "{path} {value}");
    }
}

#[test]
fn sizes_and_ranges_are_bounded() {
    let long = format!("#try=1.{}", "A".repeat(MAX_ENCODED_BYTES));
    assert!(matches!(ExperimentLink::decode(&long), Err(ShareError::TooLong { .. })));
    let sinks =
        |prompt: &str| fragment(&format!(r#"{{"m":"a","r":"fedcba9876543210","e":{{"kind":"sinks","prompt":"{prompt}"}},"h":[]}}"#));
    assert_eq!(ExperimentLink::decode(&sinks(&"é".repeat(2001))), Err(ShareError::PromptTooLong { found: 2001 }));
    assert!(ExperimentLink::decode(&sinks(&"é".repeat(2000))).is_ok());
    assert_eq!(with("e.super_weights", r#"[{"layer":1048576,"row":0,"col":0}]"#), Err(ShareError::Index { what: "layer", found: 1 << 20 }));
    let in_expert = r#"[{"layer":2,"expert":5,"row":0,"col":0}]"#;
    assert_eq!(with("e.super_weights", in_expert), Err(LimitError::NoExperts { got: 5 }.into()));
    let refused = |path: &str, value: &str| {
        let read = with(path, value);
        assert!(matches!(read, Err(ShareError::Setting(_) | ShareError::Bounds(_))), "{path} {value}: {read:?}");
    };
    refused("e.super_weights", &format!("[{}]", vec![r#"{"layer":0,"row":0,"col":0}"#; 65].join(",")));
    for (path, value) in [
        ("e.factors", "[4]"),
        ("e.factors", "[1e300]"),
        ("e.block", "1"),
        ("e.block", "2000000"),
        ("e.n_blocks", "0"),
        ("e.limit", "100001"),
        ("h", r#"[{"name":"","value":1}]"#),
        ("h", r#"[{"name":"a","value":null}]"#),
        ("h", "[{\"name\":\"a\\n\",\"value\":1}]"),
    ] {
        refused(path, value);
    }
    for (kind, settings) in [
        ("weight_quantisation", r#""bits":[1]"#),
        ("weight_quantisation", r#""bits":[17]"#),
        ("weight_quantisation", r#""clips":[0]"#),
        ("weight_quantisation", r#""block_sizes":[4294967295]"#),
        ("activation_quantisation", r#""alpha":1.5"#),
        ("token_shift", r#""n_prompts":0"#),
    ] {
        refused("e", &format!(r#"{{"kind":"{kind}",{settings}}}"#));
    }
    refused("e.factors", &format!("[{}]", vec!["1"; 65].join(",")));
    refused("h", &format!("[{}]", vec![r#"{"name":"a","value":1}"#; 17].join(",")));
}

#[test]
fn text_is_a_name_and_a_digest() {
    for digest in ["", "0123", "0123456789ABCDEF", "0123456789abcdeg"] {
        assert!(matches!(with("e.text", &format!("{{\"name\":\"a\",\"digest\":\"{digest}\"}}")), Err(ShareError::Setting(_))), "{digest}");
    }
    for name in [String::new(), "a".repeat(121), "a\\u0000b".into()] {
        let tasks = format!("[{{\"name\":\"{name}\",\"digest\":\"0123456789abcdef\"}}]");
        assert!(matches!(with("e.tasks", &tasks), Err(ShareError::Setting(_))), "{name}");
    }
    for id in ["", "../../etc/passwd", "https://example.org/m", "javascript:alert(1)"] {
        assert!(matches!(with("m", &format!("\"{id}\"")), Err(ShareError::ModelId { .. })), "{id}");
    }
    assert_eq!(with("r", "\"0123\""), Err(ShareError::Revision));
    assert_eq!(with("url", "\"https://example.org\""), Ok(link()));
}

#[test]
fn unreadable_link_is_not_written() {
    let mut wrong = link();
    wrong.headline[0].value = f64::NAN;
    assert!(wrong.encode().is_err());
    // An outcome's figures that are not finite, or too many, are left out.
    let mut many = outcome();
    many.headline[0].value = f64::INFINITY;
    many.headline.extend((0..30).map(|n| Headline { name: n.to_string(), value: 1.0 }));
    let link = ExperimentLink::from_outcome(&many).unwrap();
    assert_eq!((link.headline.len(), link.headline[0].name.as_str()), (MAX_FIGURES, "collapse_threshold"));
    assert_eq!(ExperimentLink::decode(&link.encode().unwrap()), Ok(link));
}

#[test]
fn figures_agree_within_the_tolerance() {
    let agrees = |there: f64, here| Compared { name: "n".into(), there, here, is_missing: false }.agrees();
    assert_eq!(
        [(100.0, 101.0), (100.0, 101.1), (0.2, 0.205), (0.001, 0.005), (-100.0, -99.0)].map(|(a, b)| agrees(a, Some(b))),
        [Some(true), Some(false), Some(true), Some(false), Some(true)]
    );
    assert_eq!((agrees(1.0, None), agrees(1.0, Some(f64::NAN))), (None, Some(false)));
    let mut other = outcome();
    other.headline.remove(0);
    assert_eq!(link().compare(Some(&other)).iter().map(Compared::agrees).collect::<Vec<_>>(), [Some(false), Some(true)]);
    assert_eq!(link().compare(None).iter().map(Compared::agrees).collect::<Vec<_>>(), [None, None]);
    // Another text is another measurement of the same settings.
    let on_text = |outcome: &mut Outcome, change: &dyn Fn(&mut OnText)| change(outcome.experiment.settings.parts().text.unwrap());
    on_text(&mut other, &|of| of.text = Some(text("mine")));
    assert!(link().is_of(&other));
    on_text(&mut other, &|of| of.n_blocks = Some(1));
    assert!(!link().is_of(&other));
}

/// A link made by version 1 of the page, on its bundled model.
const OF_VERSION_1: &str = r#"{"m":"linchpin-13m","r":"fedcba9876543210","e":{"kind":"scaling","super_weights":[{"layer":2,"row":12,"col":86}],"text":{"name":"held-out 1","digest":"0123456789abcdef"},"block":2048,"tasks":[{"name":"arc_easy","digest":"0123456789abcdef"}],"limit":50,"factors":[0.0,0.1,0.2,0.3,0.4,0.5,0.6,0.8,1.0,1.2,1.5,1.8,2.0,2.5,3.0],"seed":1},"h":[{"name":"loss at factor 1","value":3.5},{"name":"collapse threshold","value":0.25}]}"#;

#[test]
fn links_of_version_1_are_opened_and_compared() {
    let old = format!("#try=1.{}", URL_SAFE_NO_PAD.encode(OF_VERSION_1));
    assert_eq!(ExperimentLink::decode(&old), Ok(link()));
    let compared = ExperimentLink::decode(&old).unwrap().compare(Some(&outcome()));
    assert_eq!(compared.iter().map(Compared::agrees).collect::<Vec<_>>(), [Some(true), Some(true)]);
}

proptest! {
    #[test]
    fn every_valid_link_comes_back(
        kind in prop::sample::select(ExperimentKind::ALL),
        scalars in prop::collection::vec((0..MAX_INDEX, 0..MAX_INDEX, 0..MAX_INDEX), 0..8),
        prompt in ".{0,200}",
        settings in prop::collection::vec((0..SettingId::ALL.len(), 0.0..=1.0_f64), 0..20),
        figures in prop::collection::vec(("[a-z ,]{1,40}", -8_000_000..8_000_000_i32), 0..MAX_FIGURES),
    ) {
        let super_weights = scalars.into_iter().map(|(layer, row, col)| WeightCoord::new(layer, row, col)).collect();
        let mut experiment = Experiment::with_defaults(kind, super_weights);
        if let Some(of) = experiment.settings.parts().prompt {
            *of = prompt;
        }
        for (id, share) in settings {
            let id = SettingId::ALL[id];
            if let Some(value) = experiment.settings.number(id) {
                let (low, high) = id.bounds();
                let number = low + share * (high - low);
                value.set(&[if value.is_whole() { number.floor() } else { f64::from(number as f32) }]);
            }
        }
        let headline = figures.into_iter().map(|(name, eighths)| Headline { name, value: f64::from(eighths) / 8.0 }).collect();
        let link = ExperimentLink { experiment, headline, ..link() };
        match link.encode() {
            Ok(text) => prop_assert_eq!(ExperimentLink::decode(&text), Ok(link)),
            Err(why) => prop_assert!(matches!(why, ShareError::TooLong { .. }), "{}", why),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), json in any::<String>()) {
        let _ = ExperimentLink::decode(&text);
        let _ = ExperimentLink::decode(&format!("#try={text}"));
        let _ = ExperimentLink::decode(&format!("#try=1.{text}"));
        let _ = ExperimentLink::decode(&fragment(&json));
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic(at in 0..600usize, byte in any::<u8>()) {
        let encoded = link().encode().unwrap();
        let mut json = URL_SAFE_NO_PAD.decode(encoded.strip_prefix("#try=2.").unwrap()).unwrap();
        let at = at % json.len();
        json[at] = byte;
        let _ = ExperimentLink::decode(&format!("#try=1.{}", URL_SAFE_NO_PAD.encode(json)));
    }
}
