//! A member that writes garbage into shared memory: the others get typed errors, and no signal, no panic and no endless wait.
//!
//! Rounds of six processes: a host that opens a session, members that put, get, wait and release (one of them may only look), and an
//! attacker that attaches like everybody and then flips words of the control segment and of the arena, wherever pages are in use. What
//! the members read may be wrong, since the attacker may write anywhere; what they may not do is die. `PARK_HOSTILE_SECONDS` makes
//! it longer (`make fuzz` does), `PARK_HOSTILE_SEED` repeats a round.
#![allow(unsafe_code, reason = "the attacker writes into shared memory through raw pointers")]

mod attack;
mod member;

use std::time::{Duration, Instant};

use park_tests::role::{self, Role, spawn};

/// How long the attack of one round lasts.
const ROUND: Duration = Duration::from_millis(150);
/// Longest that a member may take to end after that: one lock that names a live owner is waited for ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn role() {
    let Some((role, argument)) = role::asked() else { return };
    // A panic anywhere, also in a thread of the library, is what the test looks for.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(70);
    }));
    match role.as_str() {
        "host" => member::host(&argument),
        "member" => member::member(&argument, false),
        "looker" => member::member(&argument, true),
        "attacker" => attack::run(&argument, ROUND),
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// One round; how many errors the members met that only an attack explains.
fn round(seed: u64) -> usize {
    let mut host = spawn("host", &seed.to_string());
    let address = host.line().expect("the host opens a session");
    let start = |role: &str, n: u64| {
        (
            format!("{role} {n}"),
            spawn(role, &format!("{address} {}", seed * 16 + n)),
        )
    };
    let mut roles: Vec<(String, Role)> = vec![start("member", 1), start("member", 2), start("looker", 3)];
    for (name, role) in &mut roles {
        assert_eq!(role.line().as_deref(), Some("joined"), "{name}");
    }
    let mut attacker = spawn("attacker", &format!("{address} {seed}"));
    let flips = attacker.line();
    roles.push(("attacker".to_owned(), attacker));
    roles.push(("host".to_owned(), host));
    assert!(
        flips.is_some_and(|flips| flips.starts_with("flipped ")),
        "seed {seed}: the attacker did not attack"
    );
    let mut corrupt = 0;
    for (name, mut role) in roles {
        let status = role.end(PATIENCE);
        assert!(
            status.is_some_and(|status| status.success()),
            "seed {seed}: {name} ended with {status:?} (None: it never ended)"
        );
        if let Some(line) = role.line().filter(|_| name != "attacker") {
            corrupt += line
                .split(' ')
                .nth(1)
                .and_then(|count| count.parse::<usize>().ok())
                .unwrap_or(0);
        }
    }
    corrupt
}

#[test]
fn garbage_in_shared_memory_is_an_error_of_those_who_read_it() {
    if role::asked().is_some() {
        return;
    }
    let first = number("PARK_HOSTILE_SEED", 1);
    let end = Instant::now() + Duration::from_secs(number("PARK_HOSTILE_SECONDS", 3));
    let (mut seed, mut corrupt) = (first, 0);
    while seed == first || Instant::now() < end {
        corrupt += round(seed);
        seed += 1;
    }
    println!(
        "hostile: {} rounds from seed {first}, {corrupt} errors of kind Corrupt",
        seed - first
    );
    assert!(
        seed - first < 3 || corrupt > 0,
        "the attack was not noticed: it hits nothing"
    );
}
