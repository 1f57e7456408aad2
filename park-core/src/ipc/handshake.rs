//! How a stranger joins: connect to the session's address, say which layout it speaks, receive a number and two descriptors.
//!
//! The address is an abstract unix socket (sys/socket.rs): it has no file, and both sides check that the other runs as the same
//! user. The connection stays open as long as the stranger's store does; its end is how the head learns that it left.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::message::{decode, encode};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ParticipantId;
use crate::store::Store;
use crate::sys::{memfd, process, socket};

/// 2: a stranger says whether it wants the arena for reading only.
const PROTOCOL: u32 = 2;
const PREFIX: &str = "park-";
/// Seconds that a session has to answer a stranger. It answers in far less than one; a process that is stopped never does.
const PATIENCE: u32 = 60;

/// What a stranger says first: the number of its protocol, and after that what this one adds.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    wish: Wish,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    read_only: bool,
}

impl Hello {
    /// Looks at the number alone first: what follows it is another protocol's business.
    fn parse(bytes: &[u8]) -> Result<Wish> {
        let (protocol, rest) = postcard::take_from_bytes::<u32>(bytes).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("a greeting of {} bytes is malformed: {error}", bytes.len()),
            )
        })?;
        if protocol != PROTOCOL {
            bail!(
                BadSegment,
                "the peer speaks protocol {protocol}, this session speaks {PROTOCOL}"
            );
        }
        decode(rest)
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome { participant: ParticipantId },
    Refused { kind: i32, message: String },
}

/// A new session's address: unguessable, and short enough for a command line.
pub(crate) fn address(session: u64, secret: u64) -> String {
    format!("{PREFIX}{session:016x}{secret:016x}")
}

/// Joins the session at `address` from an unrelated process.
pub(crate) fn join(address: &str, read_only: bool) -> Result<Store> {
    let well_formed = address
        .strip_prefix(PREFIX)
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !well_formed {
        let shown: String = address.chars().take(64).collect();
        bail!(
            InvalidArgument,
            "a session address looks like {PREFIX}<32 hexadecimal digits>, got {shown:?}"
        );
    }
    let connection = socket::connect_to(address)?;
    let hello = Hello {
        protocol: PROTOCOL,
        wish: Wish { read_only },
    };
    socket::send(&connection, &encode(&hello)?, &[])?;
    let Some((bytes, mut fds)) = socket::receive_within(&connection, PATIENCE)? else {
        bail!(SessionClosed, "the session at {address:?} closed while joining");
    };
    match decode(&bytes)? {
        Answer::Welcome { participant } => {
            let (Some(arena), Some(control)) = (fds.pop(), fds.pop()) else {
                bail!(BadSegment, "the session at {address:?} sent no segments");
            };
            let head = process::watch(socket::peer_pid(&connection)?)?;
            let store = Store::join(control, arena, participant, Some(connection), Some(head))?;
            if store.is_read_only() != read_only {
                bail!(
                    BadSegment,
                    "the session at {address:?} gave another access to its arena than was asked for"
                );
            }
            Ok(store)
        }
        Answer::Refused { kind, message } => Err(Error::new(
            ErrorKind::from_number(kind).unwrap_or(ErrorKind::Internal),
            message,
        )),
    }
}

/// The head's side: answers one connection. Returns who joined and how to notice that it left.
pub(crate) fn welcome(store: &Store, listener: BorrowedFd<'_>) -> Result<(ParticipantId, OwnedFd, OwnedFd)> {
    let (connection, pid) = socket::accept_from(listener)?;
    let refuse = |error: &Error| {
        let answer = Answer::Refused {
            kind: error.kind() as i32,
            message: error.message().to_owned(),
        };
        encode(&answer).and_then(|bytes| socket::send(&connection, &bytes, &[]))
    };
    let admitted = socket::receive_soon(&connection).and_then(|bytes| {
        let [control, arena] = store.fds();
        // Before an entry is taken, so that a failure here needs nothing undone.
        let reading = if Hello::parse(&bytes)?.read_only {
            Some(memfd::read_only(arena)?)
        } else {
            None
        };
        let pidfd = process::watch(pid)?;
        let known = pidfd.try_clone()?;
        let participant = store.admit()?;
        store.know(participant, Some(known));
        Ok((participant, pidfd, control, reading))
    });
    match admitted {
        Ok((participant, pidfd, control, reading)) => {
            let [_, whole] = store.fds();
            let fds = [control, reading.as_ref().map_or(whole, AsFd::as_fd)];
            if let Err(error) = socket::send(&connection, &encode(&Answer::Welcome { participant })?, &fds) {
                store.declare_dead(participant);
                store.dismiss(participant);
                return Err(error);
            }
            Ok((participant, connection, pidfd))
        }
        Err(error) => {
            // The peer may be gone already; the refusal is for its benefit only.
            let _ = refuse(&error);
            Err(error)
        }
    }
}
