//! Rounds that alternate between the sides, and the medians of them.

/// So many rounds, or as many as `BENCH_ROUNDS` says: where the load matters and not the numbers.
pub fn asked(usual: usize) -> usize {
    let asked = std::env::var("BENCH_ROUNDS").ok();
    asked.map_or(usual, |number| {
        number.parse().expect("BENCH_ROUNDS is a number")
    })
}

/// Measures each of `sides` once unheeded, to warm up, and then so many times in turns. The medians, in their order.
pub fn compare<S>(
    sides: &mut [S],
    rounds: usize,
    mut measure: impl FnMut(&mut S) -> f64,
) -> Vec<f64> {
    let mut numbers = vec![Vec::new(); sides.len()];
    for side in sides.iter_mut() {
        measure(side);
    }
    for _ in 0..asked(rounds) {
        for (side, numbers) in sides.iter_mut().zip(&mut numbers) {
            numbers.push(measure(side));
        }
    }
    numbers.into_iter().map(median).collect()
}

/// The one in the middle.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The value below which this share of them is.
pub fn percentile(numbers: &mut [f64], share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[((numbers.len() - 1) as f64 * share) as usize]
}
