//! Who may run next: functions take turns, one event at a time, and none takes more than its share.

use model::FunctionName;

/// A function with events that are due.
#[derive(Debug, Clone)]
pub struct Hand {
    pub function: FunctionName,
    /// Events of it that may begin now, beside those that run.
    pub room: usize,
}

/// Deals `free` places out, one to each function in turn, beginning behind the one that was served `last`. `hands` are
/// sorted by name. A function may be dealt more than it has events; those places are free again with the next deal.
pub fn deal(hands: &[Hand], free: usize, last: Option<&FunctionName>) -> Vec<(FunctionName, usize)> {
    let begin = last.map_or(0, |last| hands.partition_point(|hand| hand.function <= *last));
    let (before, behind) = hands.split_at(begin);
    let turn: Vec<&Hand> = behind.iter().chain(before).filter(|hand| hand.room > 0).collect();
    let mut dealt = vec![0; turn.len()];
    let mut free = free;
    loop {
        let left = free;
        for (hand, dealt) in turn.iter().zip(&mut dealt) {
            if free > 0 && *dealt < hand.room {
                *dealt += 1;
                free -= 1;
            }
        }
        if free == left {
            break;
        }
    }
    let dealt = turn.into_iter().zip(dealt).filter(|(_, count)| *count > 0);
    dealt.map(|(hand, count)| (hand.function.clone(), count)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hands(rooms: &[usize]) -> Vec<Hand> {
        let hand = |(n, room): (usize, &usize)| Hand { function: format!("f{n:03}").parse().unwrap(), room: *room };
        rooms.iter().enumerate().map(hand).collect()
    }

    #[test]
    fn with_one_place_functions_take_turns() {
        let hands = hands(&[5, 5, 5]);
        let mut last = None;
        let mut served = Vec::new();
        for _ in 0..6 {
            let dealt = deal(&hands, 1, last.as_ref());
            assert_eq!(dealt.len(), 1);
            last = Some(dealt[0].0.clone());
            served.push(dealt[0].0.to_string());
        }
        assert_eq!(served, ["f000", "f001", "f002", "f000", "f001", "f002"]);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_room_or_much_more_than_others(
            rooms in proptest::collection::vec(0usize..20, 0..12),
            free in 0usize..100,
            last in 0usize..12,
        ) {
            let hands = hands(&rooms);
            let last: FunctionName = format!("f{last:03}").parse().unwrap();
            let dealt = deal(&hands, free, Some(&last));
            let room = |name: &FunctionName| hands.iter().find(|hand| hand.function == *name).unwrap().room;
            let sum: usize = dealt.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(sum, free.min(rooms.iter().sum()));
            prop_assert!(dealt.iter().all(|(name, count)| *count <= room(name)));
            // Whoever has room left has as many as anybody, but for the one place that could not be shared.
            let most = dealt.iter().map(|(_, count)| *count).max().unwrap_or(0);
            for hand in &hands {
                let got = dealt.iter().find(|(name, _)| *name == hand.function).map_or(0, |(_, count)| *count);
                prop_assert!(got == hand.room || got + 1 >= most);
            }
        }
    }
}
