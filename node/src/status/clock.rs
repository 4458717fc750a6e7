//! Whether this node's clock can be believed. Peers greet with their own time; one of them may be wrong
//! or lie, so the median counts. A node cannot tell who is right: where most clocks differ from its own,
//! the operator is told.

use super::{Clock, Peer};

/// What is said of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Near enough, or nobody to compare with.
    Good,
    /// More than half of what is tolerated: time to look.
    Drifts,
    /// More than is tolerated: what this node signs is refused by the others.
    Wrong,
}

impl Clock {
    /// Compares with the connected peers.
    pub(crate) fn of(peers: &[Peer], tolerated: Option<u32>) -> Self {
        let mut offsets: Vec<i64> = peers
            .iter()
            .filter(|p| p.connected)
            .filter_map(|p| p.clock_offset)
            .collect();
        offsets.sort_unstable();
        // Of two in the middle the smaller: a lone liar beside an honest peer moves nothing.
        let middle = offsets.len().div_ceil(2);
        let pair = offsets
            .get(middle.wrapping_sub(1))
            .zip(offsets.get(offsets.len() / 2));
        let offset = pair.map(|(a, b)| {
            if a.unsigned_abs() <= b.unsigned_abs() {
                *a
            } else {
                *b
            }
        });
        Clock {
            offset,
            peers: offsets.len(),
            tolerated,
        }
    }

    /// What is to be said of it.
    pub(crate) fn judge(&self) -> Judgement {
        let (Some(offset), Some(tolerated)) = (self.offset, self.tolerated) else {
            return Judgement::Good;
        };
        let off = offset.unsigned_abs();
        if off > u64::from(tolerated) {
            Judgement::Wrong
        } else if off * 2 > u64::from(tolerated) {
            Judgement::Drifts
        } else {
            Judgement::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peers' offsets, their median, and what is said of it.
    type Row<'a> = (&'a [Option<i64>], Option<i64>, Judgement);

    fn clock(offsets: &[Option<i64>]) -> Clock {
        let peers: Vec<Peer> = offsets
            .iter()
            .map(|clock_offset| Peer {
                connected: true,
                clock_offset: *clock_offset,
                ..Peer::default()
            })
            .collect();
        Clock::of(&peers, Some(300))
    }

    #[test]
    fn the_median_counts_and_half_of_what_is_tolerated_warns() {
        use Judgement::{Drifts, Good, Wrong};
        let table: [Row<'_>; 9] = [
            (&[], None, Good),
            (&[None, None], None, Good),
            (&[Some(150)], Some(150), Good),
            (&[Some(151)], Some(151), Drifts),
            (&[Some(-301)], Some(-301), Wrong),
            (&[Some(0), Some(90_000), None], Some(0), Good),
            (&[Some(-90_000), Some(2), Some(90_000)], Some(2), Good),
            (&[Some(200), Some(201), Some(0)], Some(200), Drifts),
            (&[Some(i64::MIN)], Some(i64::MIN), Wrong),
        ];
        for (offsets, offset, judgement) in table {
            let clock = clock(offsets);
            assert_eq!(
                (clock.offset, clock.judge()),
                (offset, judgement),
                "{offsets:?}"
            );
        }
        let away = Peer {
            clock_offset: Some(1000),
            ..Peer::default()
        };
        assert_eq!(Clock::of(&[away], Some(300)).offset, None, "not connected");
        assert_eq!(Clock::of(&[], None).judge(), Good);
    }
}
