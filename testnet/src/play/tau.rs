//! Kendall's rank correlation: whether people got offers in the order of their priority.

/// Kendall's tau-b of pairs (1 the same order, -1 the opposite one, ties taken into account); nothing
/// where there are no two different ones on both sides. Kendall, "The Treatment of Ties in Ranking
/// Problems", Biometrika 33 (1945).
#[must_use]
pub(super) fn kendall<A: Ord, B: Ord>(pairs: &[(A, B)]) -> Option<f64> {
    let (mut same, mut opposite, mut tied_a, mut tied_b) = (0u64, 0u64, 0u64, 0u64);
    for (n, (a, b)) in pairs.iter().enumerate() {
        for (c, d) in pairs.iter().skip(n + 1) {
            match (a.cmp(c), b.cmp(d)) {
                (std::cmp::Ordering::Equal, std::cmp::Ordering::Equal) => {}
                (std::cmp::Ordering::Equal, _) => tied_a += 1,
                (_, std::cmp::Ordering::Equal) => tied_b += 1,
                (x, y) if x == y => same += 1,
                _ => opposite += 1,
            }
        }
    }
    let decided = same + opposite;
    let below = ((decided + tied_a) as f64 * (decided + tied_b) as f64).sqrt();
    (below > 0.0).then(|| (same as f64 - opposite as f64) / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_orders() {
        assert_eq!(kendall(&[(1, 1), (2, 2), (3, 3)]), Some(1.0));
        assert_eq!(kendall(&[(1, 3), (2, 2), (3, 1)]), Some(-1.0));
        // Five of six pairs in order, one against: (5 - 1) / 6.
        let tau = kendall(&[(1, 1), (2, 3), (3, 2), (4, 4)]).unwrap();
        assert!((tau - 4.0 / 6.0).abs() < 1e-12);
        // One tie on one side: (2 - 0) / sqrt(3 · 2).
        let tau = kendall(&[(1, 1), (1, 2), (2, 3)]).unwrap();
        assert!((tau - 2.0 / 6.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(kendall::<u8, u8>(&[]), None);
        assert_eq!(kendall(&[(1, 1), (1, 2)]), None);
    }
}
