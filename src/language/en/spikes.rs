//! A scan's end, and the arms and verdicts of a confirmation.

use crate::terms::{Cell, MAX_SEARCHED, Message, Unit, is_critical, is_damage_of_rest};

/// The reason why the search for spikes ended, to end a sentence.
pub fn stopped(message: &Message) -> Option<String> {
    Some(match message.code.as_str() {
        "enough_candidates" => format!("{} candidates were found, the most of a search", message.number("limit")),
        "only_echoes" => format!(
            "all candidates together change the predictions for the prompt by {:.2} nats; what is left among the largest products of each layer are echoes of them, or scalars whose own effect is below {:.2} nats",
            message.number("together"),
            message.number("nats")
        ),
        "no_effect_left" => format!(
            "no other scalar among the largest products of each layer changes the predictions for the prompt by {:.2} nats",
            message.number("nats")
        ),
        // The next two ended searches of earlier versions, whose exports are still read.
        "no_spike_left" => format!("no output spike of {} times the layers' median is left", message.number("ratio")),
        "not_one_weight" => format!(
            "the remaining spikes have no single cause: no single product explains {:.0} % of them",
            100.0 * message.number("share")
        ),
        _ => return None,
    })
}

/// The model that a candidate's effect is measured against, to follow the figure; empty if that is the intact one.
pub fn effect_against(iteration: usize) -> &'static str {
    if iteration == 0 { "" } else { " (in the model without the candidates of earlier rounds)" }
}

/// The part of a prompt that a scan searches, as a sentence.
pub fn searched() -> String {
    format!(
        "The layers' spikes are those of the whole text. Candidates are sought in its first {MAX_SEARCHED} tokens, where massive \
         activations sit, because each of some hundred tests reads them again."
    )
}

/// The figures that decided about a candidate, as sentences.
pub fn verdict(message: &Message) -> Option<String> {
    let (delta, control) = (message.number("delta"), message.number("control"));
    let cost = |name: &str| message.args.get(name).and_then(Cell::number);
    if message.code != "cost" {
        return None;
    }
    let controls = if control < 1e-4 { "less than 0.0001".into() } else { format!("at most {control:.4}") };
    let mut said =
        format!("Zeroing it changes the held-out loss by {delta:+.3} nats; random scalars of the candidates' matrices by {controls}.");
    if let Some(jointly) = cost("jointly") {
        said += &format!(" But all candidates together cost {jointly:+.3} nats: each can replace the others.");
    }
    if let Some(channel) = cost("channel") {
        let [scalar, of_channel, of_control] = [delta, channel, control].map(|nats| nats as f32);
        said += &match is_critical(scalar, of_control) {
            true if is_damage_of_rest(scalar, of_channel, of_control) => format!(
                " Removing its whole channel costs only {channel:+.3} nats: without the scalar, what the rest of the channel writes does the damage."
            ),
            true => format!(" Removing its whole channel costs {channel:+.3} nats."),
            false => format!(" Its whole channel is critical: removing it costs {channel:+.3} nats."),
        };
    }
    if let Some(rest) = cost("rest") {
        said += &format!(" Removing the channel without the scalar costs {rest:+.3} nats.");
    }
    Some(said)
}

/// The change of an arm: "layer 2, [12, 86]", "random, layer 2, [3, 101]".
pub fn change(message: &Message) -> Option<String> {
    let place = |unit: Unit| message.place(unit).map(|at| at.to_string());
    let n = || message.number("n");
    Some(match message.code.as_str() {
        "intact" => "nothing changed".into(),
        "scalar" => place(Unit::Scalar)?,
        // Each control was one scalar in earlier versions, whose exports are still read.
        "random" => format!("random, {}", place(Unit::Scalar)?),
        "random_scalars" => format!("{} random scalars", n()),
        "jointly" => format!("all {} together", n()),
        "largest_weights" => format!("the {} largest |w|", n()),
        "channel" => place(Unit::Channel)?,
        "channel_mean" => place(Unit::ChannelMean)?,
        "channel_rest" => format!("channel without {}", place(Unit::Scalar)?),
        "row" => place(Unit::Row)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{ChannelCoord, EditTarget, WeightCoord};

    #[test]
    fn verdicts_tell_the_figures_that_decided() {
        let cost = Message::new("cost").with("delta", 2.4567_f32).with("control", 0.00002_f32);
        let alone = "Zeroing it changes the held-out loss by +2.457 nats; random scalars of the candidates' matrices by less than 0.0001.";
        assert_eq!(verdict(&cost).unwrap(), alone);
        let scalar = verdict(&cost.clone().with("channel", 0.04_f32).with("rest", -0.01_f32)).unwrap();
        assert!(
            scalar.contains("whole channel costs only +0.040 nats") && scalar.ends_with("without the scalar costs -0.010 nats."),
            "{scalar}"
        );
        // The one is just critical and the other just not, which says nothing about the rest of the channel.
        let near = verdict(&cost.clone().with("delta", 0.26_f32).with("channel", 0.24_f32)).unwrap();
        assert!(near.ends_with(" Removing its whole channel costs +0.240 nats."), "{near}");
        let critical = verdict(&cost.clone().with("channel", 0.9_f32)).unwrap();
        assert!(critical.ends_with(" Removing its whole channel costs +0.900 nats."), "{critical}");
        let both = cost.with("delta", 0.05_f32).with("control", 0.01_f32).with("jointly", 3.0_f32).with("channel", 4.5_f32);
        let both = verdict(&both).unwrap();
        assert!(
            both.contains("at most 0.0100.") && both.contains("together cost +3.000") && both.ends_with("removing it costs +4.500 nats.")
        );
        assert_eq!(verdict(&"of_tomorrow".into()), None);
    }

    #[test]
    fn changes_name_their_place() {
        let at = |code: &str| Message::new(code).at(WeightCoord::new(2, 12, 86));
        assert_eq!(change(&at("random")).unwrap(), "random, layer 2, [12, 86]");
        assert_eq!(change(&at("scalar")).unwrap(), "layer 2, [12, 86]");
        let mean = EditTarget::ChannelMean(ChannelCoord { layer: 2, expert: None, channel: 86 });
        assert_eq!(change(&Message::new("channel_mean").at(mean)).unwrap(), mean.to_string());
        assert_eq!(change(&Message::new("scalar").with("layer", 2_usize)), None);
    }

    #[test]
    fn reasons_to_stop_end_a_sentence() {
        let left = stopped(&Message::new("not_one_weight").with("share", 0.5_f32)).unwrap();
        assert!(left.ends_with("no single product explains 50 % of them"), "{left}");
        let echoes = Message::new("only_echoes").with("nats", 0.245_f32).with("together", 5.5_f32);
        assert!(stopped(&echoes).unwrap().starts_with("all candidates together change the predictions for the prompt by 5.50 nats"));
        assert!(stopped(&Message::new("no_effect_left").with("nats", 0.04_f32)).unwrap().ends_with("by 0.04 nats"));
        assert!(stopped(&Message::new("no_spike_left").with("ratio", 5.0_f32)).unwrap().contains("of 5 times"));
    }
}
