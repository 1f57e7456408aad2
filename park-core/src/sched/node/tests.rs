use proptest::prelude::*;

use super::*;
use crate::sched::resource::UNIT;

fn amounts(pairs: &[(&str, u64)]) -> Amounts {
    pairs
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), *amount))
        .collect()
}

fn spec(name: &str, zone: &str, pairs: &[(&str, u64)]) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        labels: vec![("zone".to_owned(), zone.to_owned())],
        amounts: amounts(pairs),
    }
}

fn anywhere(pairs: &[(&str, u64)]) -> Demand {
    Demand {
        amounts: amounts(pairs),
        place: None,
    }
}

fn at(pairs: &[(&str, u64)], place: Where) -> Demand {
    Demand {
        amounts: amounts(pairs),
        place: Some(Box::new(place)),
    }
}

fn zone(value: &str) -> Selector {
    vec![("zone".to_owned(), LabelTest::In(vec![value.to_owned()]))]
}

fn two() -> Nodes {
    let mut nodes = Nodes::default();
    nodes.add(spec("first", "a", &[("CPU", 2 * UNIT)]));
    nodes.add(spec("second", "b", &[("CPU", 2 * UNIT), ("GPU", UNIT)]));
    nodes
}

#[test]
fn what_does_not_fit_the_first_node_goes_to_the_second() {
    let mut nodes = two();
    let one = anywhere(&[("CPU", UNIT)]);
    let spots: Vec<_> = (0..4).map(|_| nodes.place(&one).unwrap()).collect();
    let taken = |node| spots.iter().filter(|spot| spot.pool == PoolId::Node(node)).count();
    assert_eq!((taken(0), taken(1)), (2, 2));
    assert!(nodes.place(&one).is_none());
    assert_eq!(nodes.outlook(&one), Outlook::Feasible);
    nodes.leave(&spots[3], &one.amounts);
    assert!(nodes.fits(&one));
}

#[test]
fn amounts_of_several_nodes_do_not_add_up_for_one_task() {
    let nodes = two();
    let three = anywhere(&[("CPU", 3 * UNIT)]);
    assert_eq!(nodes.outlook(&three), Outlook::Later);
    assert!(!nodes.fits(&three) && nodes.whole("CPU") == 4);
}

#[test]
fn the_first_alternative_with_room_is_taken_or_the_first_feasible_one_waited_for() {
    let mut nodes = two();
    let place = |patience| Where {
        selectors: vec![zone("b"), zone("a")],
        patience,
        ..Where::default()
    };
    let eager = at(&[("CPU", 2 * UNIT)], place(Patience::FirstWithRoom));
    let patient = at(&[("CPU", 2 * UNIT)], place(Patience::FirstFeasible));
    assert_eq!(nodes.place(&eager).unwrap().pool, PoolId::Node(1));
    assert!(nodes.place(&patient).is_none());
    assert_eq!(nodes.place(&eager).unwrap().pool, PoolId::Node(0));
    assert!(!eager.may_follow() && anywhere(&[]).may_follow());
}

#[test]
fn work_tied_to_a_node_that_is_gone_has_nothing_to_expect() {
    let mut nodes = two();
    let tied = at(
        &[("CPU", UNIT)],
        Where {
            selectors: vec![only("second")],
            ..Where::default()
        },
    );
    assert_eq!((nodes.outlook(&tied), nodes.fits(&tied)), (Outlook::Feasible, true));
    assert_eq!(nodes.remove("second").map(|(at, _)| at), Some(1));
    assert_eq!((nodes.outlook(&tied), nodes.fits(&tied)), (Outlook::Never, false));
    let elsewhere = at(
        &[("CPU", UNIT)],
        Where {
            selectors: vec![zone("c")],
            ..Where::default()
        },
    );
    assert_eq!(nodes.outlook(&elsewhere), Outlook::Later);
    assert!(nodes.remove("second").is_none());
}

fn in_group(pairs: &[(&str, u64)], index: Option<u32>) -> Demand {
    let group = GroupId(1);
    at(
        pairs,
        Where {
            target: Target::Bundle { group, index },
            ..Where::default()
        },
    )
}

#[test]
fn a_bundle_is_a_pool_of_its_own() {
    let mut nodes = two();
    let gpu = [("CPU", UNIT), ("GPU", 5_000)];
    nodes.reserve(GroupId(1), 0, 2, 0, &amounts(&[("CPU", 2 * UNIT)]));
    nodes.reserve(GroupId(1), 1, 2, 1, &amounts(&gpu));
    assert_eq!(nodes.places(GroupId(1)), Some(vec![Some(0), Some(1)]));
    assert_eq!(nodes.place(&anywhere(&[("CPU", UNIT)])).unwrap().pool, PoolId::Node(1));
    assert!(!nodes.fits(&anywhere(&[("CPU", UNIT)])));
    let inside = nodes.place(&in_group(&gpu, None)).unwrap();
    assert_eq!(
        inside.devices,
        [Share {
            device: 0,
            amount: 5_000
        }]
    );
    assert!(!nodes.fits(&in_group(&[("CPU", 1)], Some(1))) && nodes.fits(&in_group(&[("CPU", UNIT)], Some(0))));
    assert!(!nodes.fits(&in_group(&[("CPU", 1)], Some(7))));

    // What is used comes back to the node when its user is gone, the rest at once.
    nodes.dissolve(GroupId(1));
    assert!(nodes.fits(&anywhere(&[("CPU", 2 * UNIT)])) && !nodes.fits(&anywhere(&[("GPU", UNIT)])));
    assert_eq!(nodes.group_of(inside.pool), Some(GroupId(1)));
    nodes.leave(&inside, &amounts(&gpu));
    assert!(nodes.fits(&anywhere(&[("GPU", UNIT)])));
    assert_eq!(nodes.group_of(inside.pool), None);
}

#[test]
fn work_for_any_bundle_leaves_those_that_others_need() {
    let mut nodes = two();
    let (cpu, gpu) = ([("CPU", UNIT)], [("CPU", UNIT), ("GPU", UNIT)]);
    nodes.reserve(GroupId(1), 0, 3, 1, &amounts(&gpu));
    nodes.reserve(GroupId(1), 1, 3, 0, &amounts(&[("CPU", 2 * UNIT)]));
    nodes.reserve(GroupId(1), 2, 3, 1, &amounts(&cpu));
    let small = nodes.place(&in_group(&cpu, None)).unwrap();
    assert_eq!(nodes.node_of(small.pool), 1);
    assert!(
        nodes.place(&in_group(&[("CPU", 2 * UNIT)], None)).is_some() && nodes.place(&in_group(&gpu, None)).is_some()
    );
}

#[test]
fn a_removed_node_loses_its_bundles() {
    let mut nodes = two();
    nodes.reserve(GroupId(1), 0, 2, 0, &amounts(&[("CPU", UNIT)]));
    nodes.reserve(GroupId(1), 1, 2, 1, &amounts(&[("CPU", UNIT)]));
    assert_eq!(nodes.remove("second"), Some((1, vec![(GroupId(1), 1)])));
    assert_eq!(nodes.places(GroupId(1)), Some(vec![Some(0), None]));
    nodes.reserve(GroupId(1), 1, 2, 0, &amounts(&[("CPU", UNIT)]));
    assert!(!nodes.fits(&anywhere(&[("CPU", 1)])));
}

#[derive(Clone, Debug)]
enum Step {
    Place { cpus: u64, gpus: u64, spread: bool },
    Leave(usize),
    Reserve { node: usize, cpus: u64 },
    PlaceInside(u64),
    Dissolve,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..25_000, 0_u64..15_000, any::<bool>()).prop_map(|(cpus, gpus, spread)| Step::Place {
            cpus,
            gpus,
            spread
        }),
        (0_usize..9).prop_map(Step::Leave),
        (0_usize..3, 1_u64..20_000).prop_map(|(node, cpus)| Step::Reserve { node, cpus }),
        (1_u64..20_000).prop_map(Step::PlaceInside),
        Just(Step::Dissolve),
    ]
}

proptest! {
    /// Whatever comes and goes: nothing is over-committed, what fits on some node is placed, and in the end everything is free again.
    #[test]
    fn nothing_is_promised_twice_and_nothing_is_lost(steps in prop::collection::vec(steps(), 1..60)) {
        let mut nodes = two();
        nodes.add(spec("third", "a", &[("CPU", 3 * UNIT), ("GPU", 2 * UNIT)]));
        let whole = nodes.table();
        let mut held: Vec<(Spot, Amounts)> = Vec::new();
        for step in steps {
            match step {
                Step::Place { cpus, gpus, spread } => {
                    let target = if spread { Target::Spread } else { Target::Pack };
                    let demand = at(&[("CPU", cpus), ("GPU", gpus)], Where { target, ..Where::default() });
                    let some = nodes.nodes.iter().any(|node| node.pool.fits(&demand.amounts));
                    let spot = nodes.place(&demand);
                    prop_assert_eq!(spot.is_some(), some);
                    held.extend(spot.map(|spot| (spot, demand.amounts)));
                }
                Step::Leave(which) if which < held.len() => {
                    let (spot, amounts) = held.swap_remove(which);
                    nodes.leave(&spot, &amounts);
                }
                Step::Reserve { node, cpus } => {
                    let amounts = amounts(&[("CPU", cpus)]);
                    if nodes.places(GroupId(1)).is_none() && nodes.nodes[node].pool.fits(&amounts) {
                        nodes.reserve(GroupId(1), 0, 1, node, &amounts);
                    }
                }
                Step::PlaceInside(cpus) => {
                    let demand = in_group(&[("CPU", cpus)], None);
                    held.extend(nodes.place(&demand).map(|spot| (spot, demand.amounts)));
                }
                Step::Dissolve => nodes.dissolve(GroupId(1)),
                Step::Leave(_) => {}
            }
            let pools = nodes.nodes.iter().map(|node| &node.pool).chain(nodes.bundles.values().map(|bundle| &bundle.pool));
            for (_, total, free) in pools.flat_map(|pool| pool.amounts.balance()) {
                prop_assert!((0..=total).contains(&free));
            }
        }
        nodes.dissolve(GroupId(1));
        held.iter().for_each(|(spot, amounts)| nodes.leave(spot, amounts));
        prop_assert_eq!(nodes.table(), whole);
        prop_assert!(nodes.bundles.is_empty());
    }
}
