use super::*;

fn ticket(number: u64, tenant: u16, priority: i32, cost: u32, cached: u32) -> Ticket {
    Ticket {
        id: SequenceId::default(),
        number,
        tenant: TenantId(tenant),
        priority,
        arrival: number,
        cost,
        cached,
    }
}

/// All that is left, by number.
fn drain(queue: &mut dyn Queue) -> Vec<u64> {
    std::iter::from_fn(|| queue.pop(&mut |ticket| Some(ticket.cached)))
        .map(|ticket| ticket.number)
        .collect()
}

const ALL: [Policy; 4] = [
    Policy::Fcfs,
    Policy::Priority,
    Policy::LongestPrefix,
    Policy::Fair { quantum: 10 },
];

#[test]
fn equals_come_first_come_first_served() {
    for policy in ALL {
        let mut queue = queue(policy);
        (1..=5).for_each(|number| queue.push(ticket(number, 0, 0, 3, 0)));
        assert_eq!(drain(queue.as_mut()), [1, 2, 3, 4, 5], "{policy:?}");
    }
}

#[test]
fn one_put_back_is_next_and_one_preempted_comes_before_later_ones() {
    for policy in ALL {
        let mut queue = queue(policy);
        (2..=4).for_each(|number| queue.push(ticket(number, 0, 0, 3, 0)));
        let taken = queue.pop(&mut |_| Some(0)).unwrap();
        queue.put_back(taken);
        queue.push_front(ticket(1, 0, 0, 3, 0));
        assert_eq!(drain(queue.as_mut()), [1, 2, 3, 4], "{policy:?}");
    }
}

#[test]
fn tickets_that_are_no_good_are_passed_over() {
    for policy in ALL {
        let mut queue = queue(policy);
        (1..=4).for_each(|number| queue.push(ticket(number, 0, 0, 3, 0)));
        let next = queue.pop(&mut |ticket| (ticket.number > 2).then_some(0));
        assert_eq!(next.map(|ticket| ticket.number), Some(3), "{policy:?}");
        assert_eq!(queue.pop(&mut |_| None), None, "{policy:?}");
    }
}

#[test]
fn a_lower_priority_number_comes_first() {
    let mut queue = queue(Policy::Priority);
    for (number, priority) in [(1, 5), (2, -1), (3, 5), (4, 0)] {
        queue.push(ticket(number, 0, priority, 3, 0));
    }
    assert_eq!(drain(queue.as_mut()), [2, 4, 1, 3]);
}

#[test]
fn the_longest_prefix_comes_first_by_what_is_cached_now() {
    let mut queue = queue(Policy::LongestPrefix);
    for (number, cached) in [(1, 10), (2, 40), (3, 30)] {
        queue.push(ticket(number, 0, 0, 3, cached));
    }
    // Of the second nothing is left.
    let now = |ticket: Ticket| Some(if ticket.number == 2 { 0 } else { ticket.cached });
    let order: Vec<u64> = std::iter::from_fn(|| queue.pop(&mut { now }))
        .map(|ticket| ticket.number)
        .collect();
    assert_eq!(order, [3, 1, 2]);
}

#[test]
fn tenants_take_turns_by_tokens() {
    let mut queue = queue(Policy::Fair { quantum: 10 });
    // A tenant with many short requests, one with long ones, and one that comes late.
    (1..=6).for_each(|number| queue.push(ticket(number, 1, 0, 5, 0)));
    (11..=12).for_each(|number| queue.push(ticket(number, 2, 0, 20, 0)));
    queue.push(ticket(21, 3, 0, 10, 0));
    assert_eq!(drain(queue.as_mut()), [1, 2, 21, 3, 4, 11, 5, 6, 12]);
}

#[test]
fn a_request_larger_than_a_turn_has_its_turn() {
    let mut queue = queue(Policy::Fair { quantum: 1 });
    queue.push(ticket(1, 1, 0, 1000, 0));
    queue.push(ticket(2, 2, 0, 3000, 0));
    assert_eq!(drain(queue.as_mut()), [1, 2]);
}
