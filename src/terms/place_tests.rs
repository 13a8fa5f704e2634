use super::*;

/// Each unit: its name, its typed form and its JSON.
const UNITS: [(EditTarget, &str, &str, &str); 7] = [
    (EditTarget::scalar(2, 12, 86), "layer 2, [12, 86]", "2,12,86", r#"{"unit":"scalar","layer":2,"row":12,"col":86}"#),
    (EditTarget::row(0, 1), "layer 0, row 1", "0,1", r#"{"unit":"row","layer":0,"row":1}"#),
    (EditTarget::column(0, 1), "layer 0, column 1", "0,1", r#"{"unit":"column","layer":0,"col":1}"#),
    (EditTarget::channel(3, 9), "layer 3, channel 9", "3,9", r#"{"unit":"channel","layer":3,"channel":9}"#),
    (EditTarget::channel_mean(3, 9), "layer 3, channel 9 at its mean", "3,9", r#"{"unit":"channel_mean","layer":3,"channel":9}"#),
    (
        EditTarget::Scalar(WeightCoord { layer: 2, expert: Some(5), row: 12, col: 86 }),
        "layer 2, expert 5, [12, 86]",
        "2.5,12,86",
        r#"{"unit":"scalar","layer":2,"expert":5,"row":12,"col":86}"#,
    ),
    (
        EditTarget::ChannelMean(ChannelCoord { layer: 2, expert: Some(0), channel: 9 }),
        "layer 2, expert 0, channel 9 at its mean",
        "2.0,9",
        r#"{"unit":"channel_mean","layer":2,"expert":0,"channel":9}"#,
    ),
];

#[test]
fn units_are_said_and_typed_and_written() {
    for (target, said, typed, json) in UNITS {
        assert_eq!((target.to_string(), target.place().typed()), (said.into(), typed.into()));
        assert_eq!(serde_json::to_string(&target).unwrap(), json);
        assert_eq!(serde_json::from_str::<EditTarget>(json).unwrap(), target);
    }
    assert_eq!(WeightCoord::new(2, 12, 86).to_string(), UNITS[0].1);
    assert_eq!(serde_json::to_string(&WeightCoord::new(2, 12, 86)).unwrap(), r#"{"layer":2,"row":12,"col":86}"#);
}

#[test]
fn typed_places_come_back_as_the_unit_they_were() {
    for (target, _, typed, _) in UNITS {
        let place = target.place();
        let mut parts = typed.split(',');
        let (layer, expert) = parse_layer(parts.next().unwrap()).unwrap();
        let numbers = parts.map(|number| number.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(place.unit.target(layer, expert, &numbers), Some(target));
        assert!(place.coordinates().map(|(_, number)| number).eq(numbers.iter().copied()));
        assert_eq!(place.unit.target(layer, expert, &numbers[1..]), None);
        assert_eq!(place.unit.target(layer, expert, &[numbers, vec![1]].concat()), None);
    }
}

#[test]
fn layers_are_typed_with_one_expert_at_most() {
    assert_eq!((parse_layer(" 2 "), parse_layer("2.5")), (Some((2, None)), Some((2, Some(5)))));
    for text in ["", ".", "2.", ".5", "2.5.1", "-1", "2.65536", "2,5"] {
        assert_eq!(parse_layer(text), None, "{text}");
    }
}

#[test]
fn blocks_of_units_are_in_down_proj() {
    let block = |target: EditTarget| (target.place().matrix.name(), target.place().row, target.place().col);
    assert_eq!(block(EditTarget::scalar(2, 12, 86)), ("down_proj", Some(12), Some(86)));
    assert_eq!(block(EditTarget::row(2, 12)), ("down_proj", Some(12), None));
    for whole in [EditTarget::column(2, 86), EditTarget::channel(2, 86), EditTarget::channel_mean(2, 86)] {
        assert_eq!(block(whole), ("down_proj", None, Some(86)));
    }
}
