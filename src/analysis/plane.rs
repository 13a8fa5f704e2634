//! A flat picture of the channels' write directions, projected onto the plane that the core writes in most.
//!
//! With `v_i` the column of `down_proj` that channel `i` writes with and `M` the core, the rows `v_s / ‖v_s‖₂` of
//! `s ∈ M` form a matrix `U`, not centred. Its first two right singular vectors `p₁`, `p₂` span the plane, and
//! channel `i` is drawn at `(v_i·p₁, v_i·p₂) / ‖v_i‖₂`: within the unit circle, on its rim if the channel only writes
//! in the plane, and near 0 if it writes elsewhere.

/// Power iterations for each vector. A picture needs only three digits, and the gaps between a core's singular values
/// are wide.
const STEPS: usize = 200;

/// Projects every channel onto the plane of the module's documentation. `writes` is `down_proj.weight`,
/// `[hidden_size, n_channels]` row-major.
///
/// A singular vector's sign is arbitrary; it is chosen so that the core's coordinates have a sum of at least 0.
pub fn plane(writes: &[f32], n_channels: usize, core: &[usize]) -> Vec<[f32; 2]> {
    let columns = core.iter().map(|channel| unit_column(writes, n_channels, *channel)).collect::<Vec<_>>();
    let mut axes = singular_vectors(&columns);
    for axis in &mut axes {
        if columns.iter().map(|column| dot(column, axis)).sum::<f64>() < 0.0 {
            axis.iter_mut().for_each(|value| *value = -*value);
        }
    }
    let mut squares = vec![0.0_f64; n_channels];
    let mut at = vec![[0.0_f64; 2]; n_channels];
    for (h, row) in writes.chunks_exact(n_channels.max(1)).enumerate() {
        for ((at, square), value) in at.iter_mut().zip(&mut squares).zip(row.iter().copied().map(f64::from)) {
            *square += value * value;
            at.iter_mut().zip(&axes).for_each(|(at, axis)| *at += value * axis[h]);
        }
    }
    let flat = |(at, square): ([f64; 2], f64)| at.map(|at| if square > 0.0 { (at / square.sqrt()) as f32 } else { 0.0 });
    at.into_iter().zip(squares).map(flat).collect()
}

fn unit_column(writes: &[f32], n_channels: usize, channel: usize) -> Vec<f64> {
    let column = writes.chunks_exact(n_channels).map(|row| f64::from(row[channel])).collect::<Vec<_>>();
    scaled_to_one(column)
}

/// Computes the first two right singular vectors by power iteration on `UᵀU`; a vector that does not exist is zero.
fn singular_vectors(rows: &[Vec<f64>]) -> [Vec<f64>; 2] {
    let width = rows.first().map_or(0, Vec::len);
    let mut found: Vec<Vec<f64>> = Vec::new();
    for k in 0..2 {
        // The start must not be perpendicular to the answer, as a single row may be; an uneven mixture of all rows is
        // not.
        let mut start = vec![0.0; width];
        for (index, row) in rows.iter().enumerate() {
            let part = 1.0 + (0.618 * index as f64).fract();
            start.iter_mut().zip(without(row.clone(), &found)).for_each(|(start, value)| *start += part * value);
        }
        let is_new = rows.len() > k && dot(&start, &start) > 1e-12;
        let mut vector = if is_new { scaled_to_one(start) } else { vec![0.0; width] };
        for _ in 0..if is_new { STEPS } else { 0 } {
            let mut next = vec![0.0; width];
            for row in rows {
                let along = dot(row, &vector);
                next.iter_mut().zip(row).for_each(|(next, value)| *next += along * value);
            }
            vector = scaled_to_one(without(next, &found));
        }
        found.push(vector);
    }
    [found.remove(0), found.remove(0)]
}

/// Removes the components along `others`, which have length 1, from a vector.
fn without(mut vector: Vec<f64>, others: &[Vec<f64>]) -> Vec<f64> {
    for other in others {
        let along = dot(&vector, other);
        vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
    }
    vector
}

fn scaled_to_one(vector: Vec<f64>) -> Vec<f64> {
    let length = dot(&vector, &vector).sqrt();
    vector.into_iter().map(|value| if length > 0.0 { value / length } else { 0.0 }).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: [f32; 2], wanted: [f32; 2]) {
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-5), "{found:?} {wanted:?}");
    }

    #[test]
    fn channels_stand_where_they_write() {
        // Columns 0 to 2 are the core, which writes along residual channels 0 (twice) and 1. The others write equally
        // along 0 and 1, along 2, nowhere, and against 0.
        let writes = [
            2.0, 3.0, 0.0, 1.0, 0.0, 0.0, -1.0, //
            0.0, 0.0, 5.0, 1.0, 0.0, 0.0, 0.0, //
            0.0, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0,
        ];
        let found = plane(&writes, 7, &[0, 1, 2]);
        let half = 0.5_f32.sqrt();
        for (at, wanted) in [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [half, half], [0.0, 0.0], [0.0, 0.0], [-1.0, 0.0]].into_iter().enumerate()
        {
            close(found[at], wanted);
        }
    }

    #[test]
    fn core_of_one_has_one_direction() {
        let found = plane(&[1.0, 3.0, 1.0, 4.0], 2, &[0]);
        close(found[0], [1.0, 0.0]);
        // (3, 4) / 5 along (1, 1) / √2.
        close(found[1], [7.0 / 5.0 * 0.5_f32.sqrt(), 0.0]);
        assert_eq!(plane(&[], 0, &[]), Vec::<[f32; 2]>::new());
    }

    #[test]
    fn first_direction_is_the_one_most_shared() {
        // Three columns lie about (1, 1, 0), and one along the third axis.
        let writes = [
            1.0, 1.0, 0.9, 0.0, //
            1.0, 0.9, 1.0, 0.0, //
            0.0, 0.1, 0.1, 1.0,
        ];
        let found = plane(&writes, 4, &[0, 1, 2, 3]);
        assert!(found[..3].iter().all(|[x, _]| *x > 0.98) && found[3][0] < 0.2 && found[3][1] > 0.95, "{found:?}");
    }
}
