//! Download rate and remaining time, computed from the byte counts of the last seconds.

use std::collections::VecDeque;

/// Length of the window. Older counts say little about the current rate.
const WINDOW_MS: f64 = 5000.0;
/// The shortest span for a rate, because the first bytes of a connection arrive in a burst.
const LEAST_MS: f64 = 500.0;

/// Timed byte counts of the last seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rate {
    /// Pairs of (milliseconds, bytes), oldest first.
    seen: VecDeque<(f64, f64)>,
}

impl Rate {
    /// Records `done` bytes at a time in milliseconds. Fewer bytes or an earlier time than before clear the record.
    pub fn see(&mut self, now_ms: f64, done: f64) {
        if self.seen.back().is_some_and(|&(at, before)| now_ms < at || done < before) {
            self.seen.clear();
        }
        self.seen.push_back((now_ms, done));
        // One count older than the window stays, so that a slow connection has a rate, too.
        while self.seen.get(1).is_some_and(|&(at, _)| at <= now_ms - WINDOW_MS) {
            self.seen.pop_front();
        }
    }

    /// Bytes per second over the window; `None` if the span is too short.
    pub fn bytes_per_sec(&self) -> Option<f64> {
        let (&(from, before), &(to, after)) = (self.seen.front()?, self.seen.back()?);
        (to - from >= LEAST_MS && after > before).then(|| (after - before) / (to - from) * 1000.0)
    }

    /// Seconds until `total` bytes have arrived, at the current rate.
    pub fn remaining_secs(&self, total: f64) -> Option<f64> {
        let &(_, done) = self.seen.back()?;
        Some((total - done).max(0.0) / self.bytes_per_sec()?)
    }
}

/// The duration in words: `8 s`, `3 min`, `2 h 5 min`.
pub fn duration(secs: f64) -> String {
    // Rounded up, because a wait that ends early annoys nobody.
    let secs = secs.clamp(0.0, 1e6).ceil() as u32;
    match secs.div_ceil(60) {
        _ if secs < 100 => format!("{secs} s"),
        minutes if minutes < 100 => format!("{minutes} min"),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: impl IntoIterator<Item = (f64, f64)>) -> Rate {
        let mut rate = Rate::default();
        steps.into_iter().for_each(|(at, done)| rate.see(at, done));
        rate
    }

    #[test]
    fn rate_is_that_of_the_last_seconds() {
        // Ten seconds at 1 MB/s, then ten at 3 MB/s.
        let slow = (0..100).map(|i| (f64::from(i) * 100.0, f64::from(i) * 1e5));
        let fast = (0..=100).map(|i| (1e4 + f64::from(i) * 100.0, 1e7 + f64::from(i) * 3e5));
        let rate = after(slow.chain(fast));
        assert!((rate.bytes_per_sec().unwrap() - 3e6).abs() < 1.0, "{:?}", rate.bytes_per_sec());
        assert!((rate.remaining_secs(4.6e7).unwrap() - 2.0).abs() < 1e-6);
        assert!(rate.seen.len() <= 52);
    }

    #[test]
    fn resumed_download_counts_only_the_new_bytes() {
        let rate = after([(0.0, 1e9), (1000.0, 1.002e9)]);
        assert_eq!(rate.bytes_per_sec(), Some(2e6));
        assert_eq!(rate.remaining_secs(1.004e9), Some(1.0));
    }

    #[test]
    fn too_little_or_a_standstill_tells_nothing() {
        assert_eq!(after([]).bytes_per_sec(), None);
        assert_eq!(after([(0.0, 0.0), (100.0, 1e6)]).bytes_per_sec(), None);
        assert_eq!(after([(0.0, 1e6), (4000.0, 1e6)]).remaining_secs(2e6), None);
        // Another file, or a clock that was set back, clears the record.
        assert_eq!(after([(0.0, 1e6), (2000.0, 1e3)]).bytes_per_sec(), None);
        assert_eq!(after([(9000.0, 1e6), (10.0, 2e6)]).bytes_per_sec(), None);
    }

    #[test]
    fn slow_connection_has_a_rate() {
        assert_eq!(after([(0.0, 0.0), (8000.0, 8e3), (16_000.0, 16e3)]).bytes_per_sec(), Some(1e3));
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([0.0, 7.2, 99.0, 100.0, 170.0, 7500.0].map(duration), ["0 s", "8 s", "99 s", "2 min", "3 min", "2 h 5 min"]);
        assert_eq!(duration(f64::INFINITY), "277 h 47 min");
    }
}
