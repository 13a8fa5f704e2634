//! The table of a core's surroundings.

use crate::terms::{DataTable, SurroundingsReport};

/// Channels around the core, with the core first. The other channels are included only if `all` is set.
pub fn surroundings(report: &SurroundingsReport, all: bool) -> DataTable {
    let columns = ["layer", "group", "channel", "conn", "p1", "p2", "redundancy (nats)"];
    let mut table = DataTable::new("channels", "channels_around_core", &columns);
    for layer in &report.layers {
        let mut push = |group: &str, channel: usize, redundancy: Option<f32>| {
            let [x, y] = layer.plane.get(channel).copied().unwrap_or_default();
            let connection = layer.connections.get(channel).copied().unwrap_or(0.0);
            table.push([layer.layer.into(), group.into(), channel.into(), connection.into(), x.into(), y.into(), redundancy.into()]);
        };
        let mut is_rest = vec![all; layer.connections.len()];
        for channel in layer.core.iter().chain(&layer.halo) {
            // An export from elsewhere may name channels without figures.
            if let Some(is_rest) = is_rest.get_mut(*channel) {
                *is_rest = false;
            }
        }
        layer.core.iter().for_each(|channel| push("core", *channel, None));
        layer.halo.iter().enumerate().for_each(|(i, channel)| push("halo", *channel, layer.redundancy.get(i).copied()));
        is_rest.iter().enumerate().filter(|(_, rest)| **rest).for_each(|(channel, _)| push("rest", channel, None));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calibration, model};
    use super::*;
    use crate::terms::LayerSurroundings;

    #[test]
    fn channels_stand_by_their_group_and_the_rest_is_left_out_unless_asked_for() {
        let layer = LayerSurroundings {
            layer: 3,
            core: vec![1],
            support: vec![0],
            halo: vec![0],
            connections: vec![0.5, 0.9, 0.1],
            redundancy: vec![0.2],
            protect: Vec::new(),
            plane: vec![[0.5, -0.5], [1.0, 0.0]],
        };
        let report =
            SurroundingsReport { model: model(), calibration: calibration(), rho: 0.2, eta: 0.5, n_support: 1, layers: vec![layer] };
        let few = "layer,group,channel,conn,p1,p2,redundancy\n3,core,1,0.9,1,0,\n3,halo,0,0.5,0.5,-0.5,0.2\n";
        assert_eq!(surroundings(&report, false).to_csv(), few);
        assert_eq!(surroundings(&report, true).to_csv(), format!("{few}3,rest,2,0.1,0,0,\n"));
    }
}
